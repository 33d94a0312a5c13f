/**
 * CPU cost of decisions. Time of the pure functions: authorization against 1 to 10,000 policies of 10 rules
 * (conformance RBC-30), and outbound resolution over services of 10 to 10,000 endpoints, by decades. CPU time of a new
 * connection on the tunnel path in the control threads of the two daemons on its path, with default logging and
 * metrics.
 */
import { readFileSync } from 'node:fs';
import type { MeshUpdate, Policy, Service, Workload } from '@kmesh/api';
import { serviceRecord, workloadRecord } from '@kmesh/api/testing';
import { createLab, keyOf, serviceOf, startMesh } from '@kmesh/lab';
import { authorize, MeshState, resolveOutbound } from '@kmesh/orchestration';
import { asInstalled } from './harness/as-installed.ts';
import { processTime } from './harness/processor-time.ts';
import {
  HTTP_PORT,
  pinPrograms,
  requirePrograms,
  runWrk,
  SHORT_PORT,
  startNginx,
  warmUp,
} from './harness/programs.ts';
import { environment, type Figure, figure, type Report } from './harness/report.ts';
import { quick, rounds } from './harness/settings.ts';

const ROUNDS = rounds(7);

/** The suite `decisions`. */
export async function suite(): Promise<Report> {
  const figures = [
    ...authorization(),
    ...[10, 100, 1_000, 10_000].flatMap(resolution),
    ...(await connections()),
  ];
  return { suite: 'decisions', environment: environment(), figures, ratios: [] };
}

/** Measures the daemons' CPU time per new connection from a pod of one node to a service whose pod is on another. */
async function connections(): Promise<Figure[]> {
  requirePrograms('wrk', 'nginx', 'taskset');
  await using stack = new AsyncDisposableStack();
  const lab = stack.use(await createLab());
  await lab.node();
  await lab.node();
  const environment = await asInstalled(lab);
  const mesh = stack.use(await startMesh(lab, { kernelPath: true, environment, discardsOutput: true }));
  const vips = lab.serviceAddress();
  const shop = serviceOf({
    name: 'shop',
    vips,
    ports: { [HTTP_PORT]: HTTP_PORT, [SHORT_PORT]: SHORT_PORT },
  });
  await mesh.apply(shop);
  const { pod: client } = await mesh.pod({ name: 'client' });
  const { pod: server } = await mesh.pod(
    { name: 'server', workload: { services: { [keyOf(shop)]: {} } } },
    1,
  );
  startNginx(server, stack);
  pinPrograms();
  await warmUp(client, vips.v4);
  const sides = [
    { side: 'client’s node', pid: mesh.proxyOf(client).pid },
    { side: 'server’s node', pid: mesh.proxyOf(server).pid },
  ];
  const found = sides.map(() => ({ control: [] as number[], others: [] as number[] }));
  for (let round = 0; round < ROUNDS; round++) {
    const before = sides.map(({ pid }) => ({ control: controlTime(pid), all: processTime(pid) }));
    const { requests } = await runWrk(client, vips.v4, {
      connections: 16,
      seconds: quick ? 1 : 2,
      close: true,
    });
    for (const [index, { pid }] of sides.entries()) {
      const [was, into] = [before[index], found[index]];
      if (was === undefined || into === undefined) continue;
      const control = controlTime(pid) - was.control;
      into.control.push((control / requests) * 1_000);
      into.others.push(((processTime(pid) - was.all - control) / requests) * 1_000);
    }
  }
  return sides.flatMap(({ side }, index) => [
    figure('new connection, control thread', side, 'µs', found[index]?.control ?? []),
    figure('new connection, other threads', side, 'µs', found[index]?.others ?? []),
  ]);
}

/** Returns the CPU time of the first thread of a process, in milliseconds. */
function controlTime(pid: number): number {
  const [nanoseconds] = readFileSync(`/proc/${pid}/task/${pid}/schedstat`, 'utf8').split(' ');
  return Number(nanoseconds) / 1_000_000;
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

/** Returns microseconds per call, one value per round. */
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
