import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import type { MeshUpdate, Service, Workload } from '@kmesh/api';
import { MeshState } from '../../src/state/mesh-state.ts';
import { seededRandom, service, vip, workload } from '../fixtures.ts';

const IPS = ['10.0.0.1', '10.0.0.2', 'fd00::1'];
const NAMES = ['a', 'b', 'c'];
const UIDS = ['c//Pod/ns/p1', 'c//Pod/ns/p2', 'c//Pod/ns/p3', 'se1', 'se2'];

/** The mesh as lists, with every lookup as a scan: the reference for the indexes. */
class ScannedMesh {
  /** In order of arrival. */
  workloads: Workload[] = [];
  services: Service[] = [];
  /** Pairs `uid service` whose endpoint was lost with its service. */
  lost = new Set<string>();

  apply(update: MeshUpdate): void {
    if (update.kind === 'workload') {
      const { workload: next } = update;
      const position = this.workloads.findIndex(({ uid }) => uid === next.uid);
      if (position < 0) this.workloads.push(next);
      else this.workloads[position] = next;
      for (const name of NAMES) this.lost.delete(`${next.uid} ns/${name}.example.com`);
    } else if (update.kind === 'removeWorkload') {
      this.workloads = this.workloads.filter(({ uid }) => uid !== update.uid);
    } else if (update.kind === 'service') {
      const position = this.services.findIndex(({ name }) => name === update.service.name);
      if (position < 0) this.services.push(update.service);
      else this.services[position] = update.service;
    } else if (update.kind === 'removeService') {
      const known = this.services.some((each) => `ns/${each.hostname}` === update.key);
      if (known) for (const { uid } of this.workloads) this.lost.add(`${uid} ${update.key}`);
      this.services = this.services.filter((each) => `ns/${each.hostname}` !== update.key);
    }
  }

  claimants(network: string, ip: string): Workload[] {
    const claims = this.workloads.filter(
      (each) => each.networkMode === 'Standard' && each.network === network && each.addresses.includes(ip),
    );
    const rank = ({ uid, protocol }: Workload) =>
      uid.includes('//Pod/') ? (protocol === 'HBONE' ? 3 : 2) : protocol === 'HBONE' ? 1 : 0;
    const best = Math.max(...claims.map(rank));
    return claims.filter((claim) => rank(claim) === best);
  }

  endpoints(each: Service): string[] {
    const key = `ns/${each.hostname}`;
    const everyone = each.loadBalancer?.healthPolicy === 'AllowAll';
    return this.workloads
      .filter(({ services, status }) => services.has(key) && (everyone || status === 'Healthy'))
      .map(({ uid }) => uid)
      .filter((uid) => !this.lost.has(`${uid} ${key}`))
      .sort();
  }
}

describe('the mesh state against scanning', () => {
  test('agrees on every lookup through random updates and removals, in batches of every size', () => {
    const random = seededRandom(21);
    const pick = <Item>(items: readonly Item[]): Item => items[Math.floor(random() * items.length)] as Item;
    const some = <Item>(items: readonly Item[]): Item[] => items.filter(() => random() < 0.4);
    const anyUpdate = (): MeshUpdate => {
      const draw = random();
      if (draw < 0.5) {
        const services = new Map(
          some(NAMES).map((name) => [`ns/${name}.example.com`, new Map<number, number>()]),
        );
        const fields: Partial<Workload> = {
          addresses: some(IPS),
          network: pick(['', 'n']),
          protocol: pick(['TCP', 'HBONE']),
          networkMode: random() < 0.2 ? 'HostNetwork' : 'Standard',
          status: random() < 0.3 ? 'Unhealthy' : 'Healthy',
          hostname: pick(['', 'h']),
          services,
        };
        return { kind: 'workload', workload: workload(pick(UIDS), fields) };
      }
      if (draw < 0.65) return { kind: 'removeWorkload', uid: pick(UIDS) };
      if (draw < 0.75) return { kind: 'removeService', key: `ns/${pick(NAMES)}.example.com` };
      const healthPolicy = pick(['OnlyHealthy', 'AllowAll'] as const);
      const loadBalancer = { mode: 'Standard', routingPreferences: [], healthPolicy } as const;
      return {
        kind: 'service',
        service: service(pick(NAMES), { vips: some(IPS).map((ip) => vip(ip)), loadBalancer }),
      };
    };

    for (let round = 0; round < 300; round++) {
      const [state, scanned] = [new MeshState(), new ScannedMesh()];
      for (let batch = 0; batch < 10; batch++) {
        const updates = Array.from({ length: 1 + Math.floor(random() * 6) }, anyUpdate);
        state.apply(updates);
        for (const update of updates) scanned.apply(update);
        check(state, scanned);
      }
    }
  });
});

function check(state: MeshState, scanned: ScannedMesh): void {
  assert.equal(state.counts.workloads, scanned.workloads.length);
  for (const network of ['', 'n']) {
    for (const ip of IPS) {
      const found = state.workloadByAddress(network, ip);
      const claimants = scanned.claimants(network, ip);
      if (found === undefined) assert.equal(claimants.length, 0);
      else assert.ok(claimants.includes(found), `${network}/${ip}`);
    }
  }
  for (const name of NAMES) {
    const known = scanned.services.find((each) => each.name === name);
    const key = `ns/${name}.example.com`;
    assert.equal(state.service(key), known);
    const expected = known === undefined ? [] : scanned.endpoints(known);
    assert.deepEqual([...state.endpoints(key).keys()].sort(), expected);
  }
  for (const ip of IPS) {
    const names = scanned.services
      .filter(({ vips }) => vips.some((each) => each.ip === ip))
      .map(({ name }) => name);
    const found = state.servicesByVip('', ip).map(({ name }) => name);
    assert.deepEqual([...found].sort(), names.sort());
  }
  const named = scanned.workloads.some(({ hostname }) => hostname === 'h');
  assert.equal(state.workloadByHostname('ns', 'h') !== undefined, named);
}
