/**
 * The tunnel path against no mesh, interleaved: two lab nodes, a proxy process on each, client and server beside them.
 * Requests/s at 1 and 64 connections, new connections/s over a warm pool, bulk throughput, latency at a fixed rate,
 * processor time per 1,000 requests, and the memory of idle connections.
 */
import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import type { MeshUpdate, Workload } from '@kmesh/api';
import {
  createAuthority,
  createLab,
  installRedirect,
  type Pod,
  type TunnelProxyStart,
  tunnelProxyProgram,
  workloadOf,
} from '@kmesh/lab';
import { identityUriOf } from '@kmesh/orchestration';
import type { TunnelCertificate } from '@kmesh/tunnel';
import { atLeast, environment, type Figure, figure, type Ratio, type Report } from './report.ts';

const ROUNDS = Number(process.env['KMESH_BENCH_ROUNDS'] ?? 5);
const HTTP_PORT = 8080;
const BULK_PORT = 8081;
const program = (name: string): string => fileURLToPath(new URL(`tunnel/${name}.ts`, import.meta.url));

interface Contestant {
  readonly name: 'no mesh' | 'tunnel';
  readonly client: Pod;
  readonly server: Pod;
}

export async function suite(): Promise<Report> {
  await using lab = await createLab();
  const near = await lab.node();
  const far = await lab.node();
  const pods = {
    plainClient: await near.pod({ name: 'plain-client' }),
    plainServer: await far.pod({ name: 'plain-server' }),
    client: await near.pod({ name: 'client' }),
    server: await far.pod({ name: 'server' }),
  };
  const workloads = [pods.client, pods.server].map((pod) => workloadOf(pod, { protocol: 'HBONE' }));
  const proxies = await Promise.all([
    startProxy(near.name, [pods.client], workloads),
    startProxy(far.name, [pods.server], workloads),
  ]);
  try {
    for (const pod of [pods.client, pods.server]) await installRedirect(pod, { dns: false });
    const contestants: Contestant[] = [
      { name: 'no mesh', client: pods.plainClient, server: pods.plainServer },
      { name: 'tunnel', client: pods.client, server: pods.server },
    ];
    for (const { server } of contestants) {
      await server.serve({ port: HTTP_PORT, mode: 'http' });
      const bulk = server.spawn(process.execPath, [program('bulk'), 'serve', `${BULK_PORT}`]);
      await once(bulk.stdout ?? bulk, 'data');
    }
    return await measure(contestants);
  } finally {
    for (const proxy of proxies) proxy.kill('SIGKILL');
  }
}

const authority = createAuthority();
const issued: Record<string, TunnelCertificate> = {};

async function startProxy(
  node: string,
  pods: readonly Pod[],
  workloads: readonly Workload[],
): Promise<ChildProcess> {
  for (const workload of workloads) {
    const uri = identityUriOf(workload);
    if (issued[uri] !== undefined) continue;
    const made = authority.issue({ uris: [uri] });
    issued[uri] = {
      certificateChainPem: made.chainPem,
      privateKeyPem: made.privateKeyPem,
      rootsPem: [authority.rootPem],
    };
  }
  const start: TunnelProxyStart = {
    node,
    updates: workloads.map((workload): MeshUpdate => ({ kind: 'workload', workload })),
    certificates: issued,
    pods: pods.map((pod) => ({
      uid: pod.uid,
      name: pod.name,
      namespace: pod.podNamespace,
      serviceAccount: pod.serviceAccount,
      path: pod.namespacePath,
    })),
  };
  const child = fork(tunnelProxyProgram, { serialization: 'advanced' });
  child.send(start);
  await once(child, 'message');
  return child;
}

interface Measure {
  readonly name: string;
  readonly unit: string;
  /** Lowest share of no mesh that is good. */
  readonly bound?: number;
  readonly run: (contestant: Contestant) => Promise<number>;
}

const measures: readonly Measure[] = [
  { name: 'requests/s, 1 connection', unit: '/s', run: (one) => requests(one, 1, 6_000) },
  { name: 'requests/s, 64 connections', unit: '/s', bound: 0.45, run: (one) => requests(one, 64, 1_200) },
  { name: 'new connections/s', unit: '/s', bound: 0.4, run: newConnections },
  { name: 'bulk throughput', unit: 'Gb/s', bound: 0.3, run: bulk },
  { name: 'processor time per 1,000 requests', unit: 'ms', run: processorTime },
  { name: 'latency at 1,000/s, p50', unit: 'µs', run: (one) => paced(one, 'p50') },
  { name: 'latency at 1,000/s, p99', unit: 'µs', run: (one) => paced(one, 'p99') },
];

async function measure(contestants: readonly Contestant[]): Promise<Report> {
  const figures: Figure[] = [];
  const ratios: Ratio[] = [];
  // KMESH_BENCH_ONLY names the figures to measure by the start of their names.
  const only = process.env['KMESH_BENCH_ONLY'] ?? '';
  for (const { name, unit, bound, run } of measures.filter((one) => one.name.startsWith(only))) {
    const rounds = new Map(contestants.map((contestant) => [contestant.name, [] as number[]]));
    for (const contestant of contestants) await run(contestant);
    for (let round = 0; round < ROUNDS; round++) {
      const order = round % 2 === 0 ? contestants : contestants.toReversed();
      for (const contestant of order) rounds.get(contestant.name)?.push(await run(contestant));
    }
    const found = contestants.map((contestant) =>
      figure(name, contestant.name, unit, rounds.get(contestant.name) ?? []),
    );
    figures.push(...found);
    const [baseline, tunnel] = found;
    if (bound !== undefined && baseline !== undefined && tunnel !== undefined) {
      ratios.push(atLeast(name, tunnel.value / baseline.value, bound));
    }
  }
  return { suite: 'tunnel', environment: environment(), figures, ratios };
}

async function requests({ client, server }: Contestant, connections: number, each: number): Promise<number> {
  const report = await client.dial({
    to: `${server.addresses.v4}:${HTTP_PORT}`,
    mode: 'http',
    connections,
    concurrency: connections,
    requests: each,
    timeoutMs: 30_000,
  });
  if (report.failed > 0) throw new Error(`${report.failed} failed: ${JSON.stringify(report.failures)}`);
  return (connections * each * 1e9) / report.elapsedNs;
}

async function newConnections({ client, server }: Contestant): Promise<number> {
  const report = await client.dial({
    to: `${server.addresses.v4}:${HTTP_PORT}`,
    mode: 'http',
    connections: 8_000,
    concurrency: 64,
    timeoutMs: 30_000,
  });
  if (report.failed > 0) throw new Error(`${report.failed} failed: ${JSON.stringify(report.failures)}`);
  return (8_000 * 1e9) / report.elapsedNs;
}

async function bulk({ client, server }: Contestant): Promise<number> {
  const to = [program('bulk'), 'send', server.addresses.v4, `${BULK_PORT}`, '2'];
  const { stdout } = await client.run(process.execPath, to, { timeoutMs: 30_000 });
  const [bytes = 0, milliseconds = 1] = stdout.trim().split(' ').map(Number);
  return (bytes * 8) / milliseconds / 1e6;
}

async function processorTime(contestant: Contestant): Promise<number> {
  const before = busyMilliseconds();
  const count = 16 * 1_500;
  await requests(contestant, 16, 1_500);
  return (busyMilliseconds() - before) / (count / 1000);
}

/** Of the whole machine, interrupts included: what a connection costs is not only what its process is charged. */
function busyMilliseconds(): number {
  const [, user, nice, system, , , irq, softirq] = (readFileSync('/proc/stat', 'utf8').split('\n')[0] ?? '')
    .split(/\s+/)
    .map(Number);
  return ((user ?? 0) + (nice ?? 0) + (system ?? 0) + (irq ?? 0) + (softirq ?? 0)) * 10;
}

async function paced({ client, server }: Contestant, percentile: 'p50' | 'p99'): Promise<number> {
  const to = [program('paced'), server.addresses.v4, `${HTTP_PORT}`, '1000', '2'];
  const { stdout } = await client.run(process.execPath, to, { timeoutMs: 30_000 });
  return (JSON.parse(stdout) as Record<string, number>)[percentile] ?? Number.NaN;
}
