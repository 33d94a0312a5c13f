import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import type { Service } from '@kmesh/api';
import {
  bestServiceByHostname,
  bestServiceByVip,
  findByAddress,
  findByHostname,
} from '../../src/routing/lookup.ts';
import { maskIp, parseCidr, parseIp } from '../../src/state/ip.ts';
import { mesh, seededRandom, service, vip, workload } from '../fixtures.ts';

const VIP = '10.1.2.3';
const cidrVips = (cidr: string, network = '') => ({ cidrVips: [{ network, cidr }] });

describe('services by VIP', () => {
  test('STA-13: own namespace, else canonical', () => {
    const vips = [vip(VIP)];
    const state = mesh(
      service('s', { vips, namespace: 'a' }),
      service('s', { vips, namespace: 'b' }),
      service('s', { vips, namespace: 'd', canonical: true }),
    );
    const found = ['a', 'b', 'c'].map((client) => bestServiceByVip(state, '', VIP, client)?.namespace);
    assert.deepEqual(found, ['a', 'b', 'd']);
    const byHost = ['a', 'c'].map(
      (client) => bestServiceByHostname(state, 's.example.com', client)?.namespace,
    );
    assert.deepEqual(byHost, ['a', 'd']);
  });

  test('STA-14: a namespace-visible service is not found from elsewhere, then the CIDRs are tried', () => {
    const hidden = service('hidden', { vips: [vip(VIP)], visibility: 'Namespace' });
    const state = mesh(hidden);
    assert.equal(bestServiceByVip(state, '', VIP, 'other'), undefined);
    assert.equal(bestServiceByHostname(state, hidden.hostname, 'other'), undefined);
    assert.equal(bestServiceByVip(state, '', VIP, 'ns'), hidden);
    assert.equal(bestServiceByVip(state, '', VIP, undefined), hidden);
    const wide = service('wide', cidrVips('10.0.0.0/8'));
    assert.equal(bestServiceByVip(mesh(hidden, wide), '', VIP, 'other'), wide);
  });

  test('STA-15: the longest CIDR is chosen', () => {
    const state = mesh(service('wide', cidrVips('10.0.0.0/8')), service('narrow', cidrVips('10.1.0.0/16')));
    assert.equal(bestServiceByVip(state, '', VIP, 'x')?.name, 'narrow');
    assert.equal(bestServiceByVip(state, '', '10.2.0.1', 'x')?.name, 'wide');
  });

  test('STA-15: of equal CIDRs the canonical one is chosen', () => {
    const state = mesh(
      service('first', cidrVips('10.0.0.0/8')),
      service('canonical', { ...cidrVips('10.0.0.0/8'), canonical: true }),
    );
    assert.equal(bestServiceByVip(state, '', VIP, 'x')?.name, 'canonical');
  });

  test('STA-16: a short CIDR of the own namespace is preferred to a long one elsewhere', () => {
    const state = mesh(
      service('own', cidrVips('10.0.0.0/8')),
      service('elsewhere', { ...cidrVips('10.1.2.0/24'), namespace: 'other' }),
    );
    assert.equal(bestServiceByVip(state, '', VIP, 'ns')?.name, 'own');
  });

  test('STA-17: an exact VIP is preferred to a CIDR, in both families; family and network must match', () => {
    const state = mesh(
      service('wide4', cidrVips('10.0.0.0/8')),
      service('wide6', cidrVips('2001:db8::/32')),
      service('exact4', { vips: [vip(VIP)] }),
      service('exact6', { vips: [vip('2001:db8::1')] }),
      service('all', cidrVips('0.0.0.0/0', 'n2')),
    );
    const cases: [string, string, string | undefined][] = [
      ['', VIP, 'exact4'],
      ['', '10.9.9.9', 'wide4'],
      ['', '2001:db8::1', 'exact6'],
      ['', '2001:db8::2', 'wide6'],
      ['', '::a01:203', undefined],
      ['n1', VIP, undefined],
      ['n2', VIP, 'all'],
      ['n2', '2001:db8::2', undefined],
    ];
    for (const [network, ip, name] of cases) {
      assert.equal(bestServiceByVip(state, network, ip, 'x')?.name, name, `${network}/${ip}`);
    }
  });

  test('STA-18: a removed or changed CIDR leaves no stale match', () => {
    const wide = service('wide', cidrVips('10.0.0.0/8'));
    const state = mesh(wide);
    state.apply([{ kind: 'service', service: { ...wide, ...cidrVips('10.1.0.0/16') } }]);
    assert.equal(bestServiceByVip(state, '', '10.2.0.1', 'x'), undefined);
    const change = state.apply([{ kind: 'removeService', key: 'ns/wide.example.com' }]);
    assert.equal(change.cidrs, true);
    assert.equal(bestServiceByVip(state, '', VIP, 'x'), undefined);
  });
});

describe('by address and by hostname', () => {
  test('a lookup by address prefers a workload to a service VIP', () => {
    const state = mesh(service('s', { vips: [vip(VIP)] }), workload('w', { addresses: [VIP] }));
    assert.equal(findByAddress(state, '', VIP, 'ns')?.kind, 'workload');
  });

  test('STA-22: a lookup by hostname prefers a service to a workload', () => {
    const named = workload('w', { hostname: 's.example.com' });
    assert.equal(findByHostname(mesh(named), 'ns', 's.example.com')?.kind, 'workload');
    assert.equal(findByHostname(mesh(service('s'), named), 'ns', 's.example.com')?.kind, 'service');
  });
});

describe('lookups against brute force', () => {
  test('random services: VIP, CIDR and visibility agree with a scan, through removals', () => {
    const random = seededRandom(7);
    const pick = <Item>(items: readonly Item[]): Item => items[Math.floor(random() * items.length)] as Item;
    for (let round = 0; round < 200; round++) {
      const services: Service[] = Array.from({ length: 8 }, (_, index) =>
        service(`s${index}`, {
          namespace: pick(['a', 'b', 'c']),
          vips: random() < 0.4 ? [vip(pick(['10.1.2.3', 'fd00::1']), pick(['', 'n']))] : [],
          cidrVips:
            random() < 0.7
              ? [
                  {
                    network: pick(['', 'n']),
                    cidr: pick(['0.0.0.0/0', '10.0.0.0/8', '10.1.0.0/16', 'fd00::/8', 'fd00::/64']),
                  },
                ]
              : [],
          canonical: random() < 0.3,
          visibility: random() < 0.3 ? 'Namespace' : 'Public',
        }),
      );
      const state = mesh(...services);
      const removed = pick(services);
      state.apply([{ kind: 'removeService', key: `${removed.namespace}/${removed.hostname}` }]);
      const left = services.filter((candidate) => candidate !== removed);
      for (const network of ['', 'n']) {
        for (const ip of ['10.1.2.3', '10.9.9.9', '8.8.8.8', 'fd00::1', 'fd01::1']) {
          for (const client of ['a', 'd', undefined]) {
            const expected = scan(left, network, ip, client);
            assert.equal(bestServiceByVip(state, network, ip, client)?.name, expected?.name);
          }
        }
      }
    }
  });
});

/** The rules of contract 7.1 by sorting everything. */
function scan(
  services: Service[],
  network: string,
  ip: string,
  client: string | undefined,
): Service | undefined {
  const visible = services.filter(
    ({ visibility, namespace }) => client === undefined || visibility === 'Public' || namespace === client,
  );
  const score = (candidate: Service) =>
    (candidate.namespace === client ? 2 : 0) + (candidate.canonical ? 1 : 0);
  const exact = visible
    .filter(({ vips }) => vips.some((entry) => entry.network === network && entry.ip === ip))
    .sort((left, right) => ownThenCanonical(right, client) - ownThenCanonical(left, client));
  if (exact[0] !== undefined) return exact[0];
  const ranked = visible
    .flatMap((candidate) => candidate.cidrVips.map((entry) => ({ candidate, ...entry })))
    .filter((entry) => entry.network === network && contains(entry.cidr, ip))
    .map(({ candidate, cidr }) => {
      const length = Number(cidr.split('/')[1]);
      return { candidate, rank: (score(candidate) >> 1) * 1000 + length * 2 + (score(candidate) & 1) };
    })
    .sort((left, right) => right.rank - left.rank);
  return ranked[0]?.candidate;
}

function ownThenCanonical(candidate: Service, client: string | undefined): number {
  if (candidate.namespace === client) return 2;
  return candidate.canonical ? 1 : 0;
}

function contains(cidr: string, ip: string): boolean {
  const [parsed, address] = [parseCidr(cidr), parseIp(ip)];
  if (parsed === undefined || address === undefined || parsed.network.family !== address.family) return false;
  const masked = maskIp(address, parsed.length);
  return (['a', 'b', 'c', 'd'] as const).every((word) => masked[word] === parsed.network[word]);
}
