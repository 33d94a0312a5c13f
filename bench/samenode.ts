/**
 * Two pods of one node: no mesh, the kernel path, the tunnel path; and, to tell what of the kernel path's cost is not its
 * own, pods with istio-cni's capture rules and no mesh at work.
 * Real executables, the capture rules in every meshed pod, rounds interleaved. Requests come from wrk and are answered
 * by nginx, bulk is the lab's own; clients and servers have a processor each.
 */
import { readFileSync } from 'node:fs';
import { createLab, installRedirect, type Lab, type LabMesh, type Pod, startMesh } from '@kmesh/lab';
import { environment, type Figure, figure, type Ratio, type Report } from './report.ts';
import { HTTP_PORT, pinPrograms, requirePrograms, runWrk, startNginx } from './samenode/programs.ts';

const ROUNDS = Number(process.env['KMESH_BENCH_ROUNDS'] ?? 5);
const BULK_PORT = 8081;
const BULK_BYTES = 1 << 30;

/** Nothing is tracked, so no capture rule applies. */
const UNTRACKED = `table inet untracked {
  chain prerouting { type filter hook prerouting priority raw; notrack; }
  chain output { type filter hook output priority raw; notrack; }
}
`;

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
  requirePrograms();
  await using stack = new AsyncDisposableStack();
  const contestants: Contestant[] = [
    await contestant(stack, 'no mesh'),
    await contestant(stack, 'no mesh, capture rules', 'rules'),
    await contestant(stack, 'kernel path', {}),
    await contestant(stack, 'tunnel path', { KMESH_KERNEL_PATH: 'false' }),
  ];
  const rounds = new Map<string, Round[]>(contestants.map(({ name }) => [name, []]));
  pinPrograms();
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
    ['keep-alive, 64 connections', 1, 'atLeast'],
    ['keep-alive, 1 connection', 1, 'atLeast'],
    ['p50, 1 connection', 1, 'atMost'],
    ['p99, 1 connection', 1, 'atMost'],
    ['new connections', 0.9, 'atLeast'],
    ['bulk, 1 connection', 1, 'atLeast'],
    ['CPU per 1,000 requests, 64 connections', 1, 'atMost'],
  ];
  const ratios: Ratio[] = bounds.map(([name, bound, kind]) => {
    const ratio = value(name, 'kernel path') / value(name, 'no mesh');
    const rounded = Math.round(ratio * 100) / 100;
    const ok = kind === 'atLeast' ? rounded >= bound : rounded <= bound;
    return { name: `${name}: kernel path / no mesh`, value: rounded, bound, ok };
  });
  return { suite: 'samenode', environment: environment(), figures, ratios };
}

async function contestant(
  stack: AsyncDisposableStack,
  name: string,
  settings?: Record<string, string> | 'rules',
): Promise<Contestant> {
  const lab: Lab = stack.use(await createLab());
  const node = await lab.node();
  let client: Pod;
  let server: Pod;
  if (settings === undefined || typeof settings === 'string') {
    client = await node.pod({ name: 'client' });
    server = await node.pod({ name: 'server' });
    for (const pod of settings === 'rules' ? [client, server] : []) {
      await installRedirect(pod, { dns: false });
      await pod.run('nft', ['-f', '-'], { input: UNTRACKED });
    }
  } else {
    const mesh: LabMesh = stack.use(
      await startMesh(lab, { kernelPath: true, environment: { RUST_LOG: 'warn', ...settings } }),
    );
    ({ pod: client } = await mesh.pod({ name: 'client' }));
    ({ pod: server } = await mesh.pod({ name: 'server' }));
  }
  startNginx(server, stack);
  await server.serve({ port: BULK_PORT, mode: 'halfclose' });
  return { name, client, server };
}

/** Until nginx answers, and the caches of both sides are warm. */
async function warmUp({ client, server }: Contestant): Promise<void> {
  for (let attempt = 0; attempt < 50; attempt++) {
    const answer = await client.http({ host: server.addresses.v4, port: HTTP_PORT }).catch(() => undefined);
    if (answer?.status === 200) break;
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
  await runWrk(client, server, { connections: 8, seconds: 1, close: true });
  await runWrk(client, server, { connections: 8, seconds: 1 });
}

async function measure({ name, client, server }: Contestant): Promise<Round> {
  const busy = busyMilliseconds();
  const many = await runWrk(client, server, { connections: 64, seconds: 2 });
  const cpu = busyMilliseconds() - busy;
  const one = await runWrk(client, server, { connections: 1, seconds: 1 });
  const fresh = await runWrk(client, server, { connections: 16, seconds: 1, close: true });
  const bulk = await client.dial({
    to: `${server.addresses.v4}:${BULK_PORT}`,
    mode: 'halfclose',
    bytes: BULK_BYTES,
    timeoutMs: 60_000,
  });
  if (bulk.failed > 0) throw new Error(`${name}: ${JSON.stringify(bulk.failures)}`);
  return {
    many: many.perSecond,
    one: one.perSecond,
    p50: one.p50Us,
    p99: one.p99Us,
    fresh: fresh.perSecond,
    bulk: (BULK_BYTES * 8) / bulk.elapsedNs,
    cpu: (cpu / many.requests) * 1_000,
  };
}

/** Time that all processors together were not idle, softirqs included. */
function busyMilliseconds(): number {
  const [, ...words] = (readFileSync('/proc/stat', 'utf8').split('\n')[0] ?? '').trim().split(/\s+/);
  const ticks = words.map(Number);
  const busy = ticks.reduce((sum, value, index) => (index === 3 || index === 4 ? sum : sum + value), 0);
  return busy * 10;
}
