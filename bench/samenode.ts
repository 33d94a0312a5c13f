/**
 * Two pods of one node: no mesh, the kernel path, the kernel path with redirect from socket to socket, the tunnel path.
 * Real executables, istio-cni's capture rules in every meshed pod, rounds interleaved. The load generator and the server
 * are the lab's own.
 */
import { readFileSync } from 'node:fs';
import { createLab, type Lab, type LabMesh, type Pod, startMesh } from '@kmesh/lab';
import { environment, type Figure, figure, type Ratio, type Report } from './report.ts';

const ROUNDS = 5;
const BULK_BYTES = 1 << 30;

interface Contestant {
  readonly name: string;
  readonly client: Pod;
  readonly server: Pod;
}

interface Round {
  readonly many: number;
  readonly one: number;
  readonly p50: number;
  readonly p99: number;
  readonly fresh: number;
  readonly bulk: number;
  readonly cpu: number;
}

/** The suite `samenode`. */
export async function suite(): Promise<Report> {
  await using stack = new AsyncDisposableStack();
  const contestants: Contestant[] = [
    await contestant(stack, 'no mesh'),
    await contestant(stack, 'kernel path', { KMESH_REDIRECT: 'false' }),
    await contestant(stack, 'kernel path, redirect', { KMESH_REDIRECT: 'true' }),
    await contestant(stack, 'tunnel path', { KMESH_KERNEL_PATH: 'false' }),
  ];
  const rounds = new Map<string, Round[]>(contestants.map(({ name }) => [name, []]));
  for (const one of contestants) await warmUp(one);
  for (let round = 0; round < ROUNDS; round++) {
    for (const one of contestants) rounds.get(one.name)?.push(await measure(one));
  }
  const of = (name: string, pick: (round: Round) => number) => (rounds.get(name) ?? []).map(pick);
  const units: readonly [string, string, (round: Round) => number][] = [
    ['keep-alive, 64 connections', 'requests/s', ({ many }) => many],
    ['keep-alive, 1 connection', 'requests/s', ({ one }) => one],
    ['p50, 1 connection', 'µs', ({ p50 }) => p50],
    ['p99, 1 connection', 'µs', ({ p99 }) => p99],
    ['new connections', 'connections/s', ({ fresh }) => fresh],
    ['bulk, 1 connection', 'Gbit/s', ({ bulk }) => bulk],
    ['CPU per 1,000 requests, 64 connections', 'ms', ({ cpu }) => cpu],
  ];
  const figures: Figure[] = units.flatMap(([name, unit, pick]) =>
    contestants.map((one) => figure(name, one.name, unit, of(one.name, pick))),
  );
  const value = (name: string, contestantName: string) =>
    figures.find((entry) => entry.name === name && entry.contestant === contestantName)?.value ?? 0;
  const bounds: readonly [string, number, 'atLeast' | 'atMost'][] = [
    ['keep-alive, 64 connections', 1.8, 'atLeast'],
    ['keep-alive, 1 connection', 1, 'atLeast'],
    ['p50, 1 connection', 1, 'atMost'],
    ['p99, 1 connection', 1, 'atMost'],
    ['new connections', 0.9, 'atLeast'],
    ['bulk, 1 connection', 1, 'atLeast'],
    ['CPU per 1,000 requests, 64 connections', 1, 'atMost'],
  ];
  const ratios: Ratio[] = bounds.map(([name, bound, kind]) => {
    const ratio = value(name, 'kernel path, redirect') / value(name, 'no mesh');
    const rounded = Math.round(ratio * 100) / 100;
    const ok = kind === 'atLeast' ? rounded >= bound : rounded <= bound;
    return { name: `${name}: redirect / no mesh`, value: rounded, bound, ok };
  });
  return { suite: 'samenode', environment: environment(), figures, ratios };
}

async function contestant(
  stack: AsyncDisposableStack,
  name: string,
  settings?: Record<string, string>,
): Promise<Contestant> {
  const lab: Lab = stack.use(await createLab());
  const node = await lab.node();
  let client: Pod;
  let server: Pod;
  if (settings === undefined) {
    client = await node.pod({ name: 'client' });
    server = await node.pod({ name: 'server' });
  } else {
    const mesh: LabMesh = stack.use(
      await startMesh(lab, { kernelPath: true, environment: { RUST_LOG: 'warn', ...settings } }),
    );
    ({ pod: client } = await mesh.pod({ name: 'client' }));
    ({ pod: server } = await mesh.pod({ name: 'server' }));
  }
  await server.serve({ port: 8080, mode: 'http' });
  await server.serve({ port: 8081, mode: 'halfclose' });
  // Of its own, as a service of short connections is: redirect learns what a destination's connections are like.
  await server.serve({ port: 8082, mode: 'http' });
  return { name, client, server };
}

async function warmUp({ client, server }: Contestant): Promise<void> {
  const to = `${server.addresses.v4}:8080`;
  await client.dial({ to, mode: 'http', connections: 200, requests: 10, concurrency: 8 });
  await new Promise((resolve) => setTimeout(resolve, 500));
}

async function measure({ name, client, server }: Contestant): Promise<Round> {
  const to = `${server.addresses.v4}:8080`;
  const dial = async (connections: number, requests: number, concurrency: number, target = to) => {
    const report = await client.dial({ to: target, mode: 'http', connections, requests, concurrency });
    if (report.failed > 0) throw new Error(`${name}: ${JSON.stringify(report.failures)}`);
    return report;
  };
  const busy = busyMilliseconds();
  const many = await dial(64, 2_000, 64);
  const cpu = busyMilliseconds() - busy;
  const one = await dial(1, 10_000, 1);
  const fresh = await dial(5_000, 1, 16, `${server.addresses.v4}:8082`);
  const bulk = await client.dial({
    to: `${server.addresses.v4}:8081`,
    mode: 'halfclose',
    bytes: BULK_BYTES,
    timeoutMs: 60_000,
  });
  if (bulk.failed > 0) throw new Error(`${name}: ${JSON.stringify(bulk.failures)}`);
  return {
    many: 128_000 / (many.elapsedNs / 1e9),
    one: 10_000 / (one.elapsedNs / 1e9),
    p50: (one.latencyNs?.p50 ?? 0) / 1_000,
    p99: (one.latencyNs?.p99 ?? 0) / 1_000,
    fresh: 5_000 / (fresh.elapsedNs / 1e9),
    bulk: (BULK_BYTES * 8) / bulk.elapsedNs,
    cpu: cpu / 128,
  };
}

/** Time that all processors together were not idle, softirqs included. */
function busyMilliseconds(): number {
  const [, ...words] = (readFileSync('/proc/stat', 'utf8').split('\n')[0] ?? '').trim().split(/\s+/);
  const ticks = words.map(Number);
  const busy = ticks.reduce((sum, value, index) => (index === 3 || index === 4 ? sum : sum + value), 0);
  return busy * 10;
}
