import type { MeshUpdate } from '@kmesh/api';
import { service, workload } from '@kmesh/lab/testing/kernel/kernel-path.ts';
import { formatIp } from '@kmesh/orchestration';

export const ENDPOINTS_PER_SERVICE = 10;

/** Services `from` to `to`, service i at 10.0.0.1 + i, port 80, each with ten endpoints. */
export function* meshUpdates(from: number, to: number): Generator<MeshUpdate> {
  for (let index = from; index < to; index++) {
    yield serviceUpdate(hostnameOf(index), 0x0a00_0001 + index);
    for (let endpoint = 0; endpoint < ENDPOINTS_PER_SERVICE; endpoint++)
      yield endpointUpdate(index, endpoint, [hostnameOf(index)]);
  }
}

/** The two versions of service i: two services, each with every second of its endpoints. */
export function* versionUpdates(index: number): Generator<MeshUpdate> {
  for (const version of [0, 1] as const)
    yield serviceUpdate(hostnameOf(index, version), 0x0a80_0001 + 2 * index + version);
  for (let endpoint = 0; endpoint < ENDPOINTS_PER_SERVICE; endpoint++)
    yield endpointUpdate(index, endpoint, [hostnameOf(index), hostnameOf(index, endpoint % 2 === 0 ? 0 : 1)]);
}

export function hostnameOf(index: number, version?: 0 | 1): string {
  return `service-${index}${version === undefined ? '' : `-v${version}`}.bench`;
}

function serviceUpdate(hostname: string, address: number): MeshUpdate {
  const vips = [{ network: '', ip: addressOf(address) }];
  return { kind: 'service', service: service({ hostname, vips, ports: new Map([[80, 8080]]) }) };
}

function endpointUpdate(index: number, endpoint: number, hostnames: readonly string[]): MeshUpdate {
  const number = index * ENDPOINTS_PER_SERVICE + endpoint;
  return {
    kind: 'workload',
    workload: workload({
      uid: `Kubernetes//Pod/default/pod-${number}`,
      addresses: [addressOf(0x0b00_0001 + number)],
      services: new Map(hostnames.map((hostname) => [`default/${hostname}`, new Map()])),
    }),
  };
}

function addressOf(value: number): string {
  return formatIp({ family: 4, a: value, b: 0, c: 0, d: 0 });
}
