import type { GatewayAddress, MeshUpdate, Policy, PolicyMatch, Service, Workload } from '@kmesh/api';
import { serviceRecord, workloadRecord } from '@kmesh/api/testing';
import { parseIp } from '../src/state/ip.ts';
import { MeshState } from '../src/state/mesh-state.ts';

/** A workload with default values, named by its `uid`. */
export function workload(uid: string, fields: Partial<Workload> = {}): Workload {
  return workloadRecord({
    uid,
    name: uid,
    namespace: 'ns',
    canonicalName: '',
    canonicalRevision: '',
    workloadType: 'deployment',
    workloadName: '',
    ...fields,
  });
}

/** A service `ns/<name>.example.com` on 80→8080. */
export function service(name: string, fields: Partial<Service> = {}): Service {
  return serviceRecord({
    name,
    namespace: 'ns',
    hostname: `${name}.example.com`,
    ports: new Map([[80, 8080]]),
    ...fields,
  });
}

/** One VIP on the empty network. */
export function vip(ip: string, network = ''): { network: string; ip: string } {
  return { network, ip };
}

/** Membership in a service of {@link service}, with the endpoint's own port map. */
export function memberOf(name: string, ports: [number, number][] = []): Map<string, Map<number, number>> {
  return new Map([[`ns/${name}.example.com`, new Map(ports)]]);
}

/** A waypoint or gateway reference by `network/ip` or `namespace/hostname`. */
export function gateway(destination: string, hboneMtlsPort = 15008): GatewayAddress {
  const slash = destination.indexOf('/');
  const [first, second] = [destination.slice(0, slash), destination.slice(slash + 1)];
  return parseIp(second) === undefined
    ? { destination: { kind: 'hostname', namespace: first, hostname: second }, hboneMtlsPort }
    : { destination: { kind: 'address', network: first, ip: second }, hboneMtlsPort };
}

/** An ALLOW policy of scope Namespace in `ns`. */
export function policy(name: string, rules: Policy['rules'], fields: Partial<Policy> = {}): Policy {
  return { name, namespace: 'ns', scope: 'Namespace', action: 'Allow', rules, dryRun: false, ...fields };
}

/** Rules with one rule of one clause of one match. */
export function oneMatch(match: PolicyMatch): Policy['rules'] {
  return [[[match]]];
}

/** Input of {@link mesh}. */
export type MeshRecord = Workload | Service | Policy;

/** Returns the updates for these records. */
export function updatesOf(...records: MeshRecord[]): MeshUpdate[] {
  return records.map((record) => {
    if ('uid' in record) return { kind: 'workload', workload: record };
    return 'rules' in record ? { kind: 'policy', policy: record } : { kind: 'service', service: record };
  });
}

/** A mesh of these records, applied in one batch. */
export function mesh(...records: MeshRecord[]): MeshState {
  const state = new MeshState();
  state.apply(updatesOf(...records));
  return state;
}

/** A repeatable random source, uniform in [0, 1) (mulberry32). */
export function seededRandom(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let value = Math.imul(state ^ (state >>> 15), state | 1);
    value ^= value + Math.imul(value ^ (value >>> 7), value | 61);
    return ((value ^ (value >>> 14)) >>> 0) / 4294967296;
  };
}
