/**
 * Two pods of one node: no mesh, through kube-proxy's rules, and the mesh with its defaults; on a bare bridge, and on a node
 * with the rules that clusters have. Of each measurement all contestants have their turn one after the other, and what is
 * compared are two turns of one round. Requests come from wrk and are answered by nginx, bulk is the lab's own; clients and
 * servers have a processor each.
 */
import { readdirSync, readFileSync } from 'node:fs';
import { environment, type Figure, figure, type Ratio, type Report } from './report.ts';
import { type Contestant, contestant, type Way } from './samenode/contestants.ts';
import { BULK_PORT, HTTP_PORT, pinPrograms, requirePrograms, runWrk } from './samenode/programs.ts';

const ROUNDS = Number(process.env['KMESH_BENCH_ROUNDS'] ?? 5);
const BULK_BYTES = 1 << 30;

const BARE = 'no mesh, bare bridge';
const BARE_MESH = 'kmesh, bare bridge';
const NODE = 'no mesh, node';
const KUBE_PROXY = 'kube-proxy, node';
const NODE_MESH = 'kmesh, node';

const ways: readonly Way[] = [
  { name: BARE, busyNode: false, by: 'address' },
  { name: BARE_MESH, busyNode: false, by: 'kmesh' },
  { name: NODE, busyNode: true, by: 'address' },
  { name: KUBE_PROXY, busyNode: true, by: 'kube-proxy' },
  { name: NODE_MESH, busyNode: true, by: 'kmesh' },
];

/** What one turn found, by the name of the figure. */
type Found = Readonly<Record<string, number>>;

const MANY = 'requests, 64 connections';
const CPU = 'CPU per 1,000 requests';
const ONE = 'requests, 1 connection';
const P50 = 'p50, 1 connection';
const P99 = 'p99, 1 connection';
const FRESH = 'new connections';
const BULK = 'bulk, 1 connection';

const units: Readonly<Record<string, string>> = {
  [MANY]: 'requests/s',
  [CPU]: 'ms',
  [ONE]: 'requests/s',
  [P50]: 'µs',
  [P99]: 'µs',
  [FRESH]: 'connections/s',
  [BULK]: 'Gbit/s',
};

/** In what turns they are measured. */
const measurements: readonly ((one: Contestant) => Promise<Found>)[] = [
  async ({ client, node, to }) => {
    const before = busyMilliseconds(node.cgroup);
    const { perSecond, requests } = await runWrk(client, to, { connections: 64, seconds: 2 });
    return { [MANY]: perSecond, [CPU]: ((busyMilliseconds(node.cgroup) - before) / requests) * 1_000 };
  },
  async ({ client, to }) => {
    const { perSecond, p50Us, p99Us } = await runWrk(client, to, { connections: 1, seconds: 1 });
    return { [ONE]: perSecond, [P50]: p50Us, [P99]: p99Us };
  },
  async ({ client, to }) => {
    const { perSecond } = await runWrk(client, to, { connections: 16, seconds: 1, close: true });
    return { [FRESH]: perSecond };
  },
  async ({ name, client, to }) => {
    const { failed, failures, elapsedNs } = await client.dial({
      to: `${to}:${BULK_PORT}`,
      mode: 'halfclose',
      bytes: BULK_BYTES,
      timeoutMs: 60_000,
    });
    if (failed > 0) throw new Error(`${name}: ${JSON.stringify(failures)}`);
    return { [BULK]: (BULK_BYTES * 8) / elapsedNs };
  },
];

/** Figure, who is compared with whom, bound. */
const bounds: readonly [string, string, string, number, 'atLeast' | 'atMost'][] = [
  [MANY, BARE_MESH, BARE, 1.05, 'atLeast'],
  [MANY, NODE_MESH, NODE, 1.15, 'atLeast'],
  [MANY, NODE_MESH, KUBE_PROXY, 1.2, 'atLeast'],
  ...(
    [
      [BARE_MESH, BARE],
      [NODE_MESH, NODE],
    ] as const
  ).flatMap(([mesh, none]): (typeof bounds)[number][] => [
    [ONE, mesh, none, 1, 'atLeast'],
    [P50, mesh, none, 1, 'atMost'],
    [P99, mesh, none, 1, 'atMost'],
    [FRESH, mesh, none, 0.85, 'atLeast'],
    [BULK, mesh, none, 1, 'atLeast'],
    [CPU, mesh, none, 1, 'atMost'],
  ]),
  [FRESH, NODE_MESH, KUBE_PROXY, 1, 'atLeast'],
];

/** The suite `samenode`. */
export async function suite(): Promise<Report> {
  requirePrograms();
  await using stack = new AsyncDisposableStack();
  const contestants: Contestant[] = [];
  for (const way of ways) contestants.push(await contestant(stack, way));
  pinPrograms();
  for (const one of contestants) await warmUp(one);
  const rounds: Map<string, Found>[] = [];
  for (let round = 0; round < ROUNDS; round++) {
    const found = new Map<string, Found>();
    for (const measurement of measurements) {
      // Not always the same one right after another.
      for (const one of round % 2 === 0 ? contestants : contestants.toReversed())
        found.set(one.name, { ...found.get(one.name), ...(await measurement(one)) });
    }
    rounds.push(found);
  }
  const of = (name: string, of: string) => rounds.map((found) => found.get(of)?.[name] ?? Number.NaN);
  const figures: Figure[] = Object.entries(units).flatMap(([name, unit]) =>
    contestants.map((one) => figure(name, one.name, unit, of(name, one.name))),
  );
  const ratios: Ratio[] = bounds.map(([name, mesh, none, bound, kind]) => {
    const others = of(name, none);
    const { value } = figure(
      '',
      '',
      '',
      of(name, mesh).map((one, at) => one / (others[at] ?? Number.NaN)),
    );
    const rounded = Math.round(value * 100) / 100;
    const ok = kind === 'atLeast' ? rounded >= bound : rounded <= bound;
    return { name: `${name}: ${mesh} / ${none}`, value: rounded, bound, ok };
  });
  return { suite: 'samenode', environment: environment(), figures, ratios };
}

/** Until nginx answers, and the caches of both sides are warm. */
async function warmUp({ client, to }: Contestant): Promise<void> {
  for (let attempt = 0; attempt < 50; attempt++) {
    const answer = await client.http({ host: to, port: HTTP_PORT }).catch(() => undefined);
    if (answer?.status === 200) break;
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
  await runWrk(client, to, { connections: 8, seconds: 1, close: true });
  await runWrk(client, to, { connections: 8, seconds: 1 });
}

/** Time of processors that a node's pods and its proxy have had, and the kernel's threads that take over their packets. */
function busyMilliseconds(cgroup: string): number {
  const [, usage] = /^usage_usec (\d+)/m.exec(readFileSync(`${cgroup}/cpu.stat`, 'utf8')) ?? [];
  const own = Number(usage) / 1_000;
  return softirqThreads.reduce((sum, pid) => {
    const [nanoseconds] = readFileSync(`/proc/${pid}/schedstat`, 'utf8').split(' ');
    return sum + Number(nanoseconds) / 1_000_000;
  }, own);
}

const softirqThreads = readdirSync('/proc').filter((pid) => {
  try {
    return /^\d+$/.test(pid) && readFileSync(`/proc/${pid}/comm`, 'utf8').startsWith('ksoftirqd/');
  } catch {
    return false;
  }
});
