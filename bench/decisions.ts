/**
 * How long the pure decisions take: authorization against 1 to 10,000 policies of 10 rules (conformance RBC-30), and outbound
 * resolution over services of 10 to 10,000 endpoints, by decades.
 */
import type { MeshUpdate, Policy, Service, Workload } from '@kmesh/api';
import { serviceRecord, workloadRecord } from '@kmesh/api/testing';
import { authorize, MeshState, resolveOutbound } from '@kmesh/orchestration';
import { environment, type Figure, figure, type Report } from './harness/report.ts';
import { rounds } from './harness/settings.ts';

const ROUNDS = rounds(7);

/** The suite `decisions`. */
export function suite(): Promise<Report> {
  const figures = [...authorization(), ...[10, 100, 1_000, 10_000].flatMap(resolution)];
  return Promise.resolve({ suite: 'decisions', environment: environment(), figures, ratios: [] });
}

function authorization(): Figure[] {
  const connection = {
    identity: { trustDomain: 'cluster.local', namespace: 'client', serviceAccount: 'client' },
    sourceIp: '10.9.0.1',
    destinationIp: '10.0.0.2',
    destinationPort: 8080,
  };
  return [1, 10, 100, 1_000, 10_000].map((count) => {
    const state = new MeshState();
    state.apply(Array.from({ length: count }, (_, index) => ({ kind: 'policy', policy: policy(index) })));
    const repeats = Math.ceil(100_000 / count);
    const target = workload(0, new Map());
    const rounds = measured(repeats, () => authorize(state, connection, target));
    return figure('authorize, nothing matches', `${count} policies of 10 rules`, 'µs', rounds);
  });
}

function resolution(endpoints: number): Figure[] {
  const state = new MeshState();
  const services = new Map([['ns/svc-0.example.com', new Map()]]);
  state.apply([
    { kind: 'service', service: service(0) },
    ...Array.from({ length: endpoints }, (_, index): MeshUpdate => {
      return { kind: 'workload', workload: workload(index, services) };
    }),
  ]);
  const source = workload(100_000, new Map());
  const request = { source, clientIp: '10.2.0.1', destination: { ip: '10.200.0.0', port: 80 } };
  const rounds = measured(200_000 / endpoints, () => resolveOutbound(state, request));
  return [figure('resolveOutbound', `${endpoints} endpoints`, 'µs', rounds)];
}

/** Microseconds per call, one value per round. */
function measured(repeats: number, call: () => unknown): number[] {
  for (let repeat = 0; repeat < repeats; repeat++) call();
  return Array.from({ length: ROUNDS }, () => {
    const start = performance.now();
    for (let repeat = 0; repeat < repeats; repeat++) call();
    return ((performance.now() - start) / repeats) * 1_000;
  });
}

function policy(index: number): Policy {
  const rules = Array.from({ length: 10 }, (_, rule) => [
    [{ sourceIps: [`10.0.${rule}.0/24`] }],
    [{ destinationPorts: [rule + 1] }],
  ]);
  return { name: `p${index}`, namespace: 'ns', scope: 'Namespace', action: 'Allow', rules, dryRun: false };
}

function service(index: number): Service {
  return serviceRecord({
    name: `svc-${index}`,
    namespace: 'ns',
    hostname: `svc-${index}.example.com`,
    vips: [{ network: '', ip: `10.200.${index >> 8}.${index & 255}` }],
    ports: new Map([[80, 8080]]),
    canonical: true,
  });
}

const NOWHERE = { region: '', zone: '', subzone: '' };

function workload(index: number, services: Workload['services']): Workload {
  return workloadRecord({
    name: `pod-${index}`,
    namespace: 'ns',
    addresses: [`10.${index >> 16}.${(index >> 8) & 255}.${index & 255}`],
    protocol: 'HBONE',
    node: 'node',
    services,
    locality: NOWHERE,
  });
}
