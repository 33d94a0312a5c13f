/**
 * Two pods of one node: no mesh, kube-proxy's rules, and the mesh with its defaults; on a bare bridge, and on a node
 * with the usual rules of a cluster. On both also pods with a mesh's rules and no mesh: neither programs nor daemon can
 * reduce the cost of the rules. Each measurement runs on all contestants one after another; ratios compare
 * results of one round. Requests come from wrk and are answered by nginx, bulk is the lab's own; clients and servers
 * have a processor each.
 */

import { type Bound, type Found, figuresOf, interleave, ratioOf } from './harness/interleave.ts';
import { processorTime } from './harness/processor-time.ts';
import { BULK_PORT, pinPrograms, requirePrograms, runWrk, warmUp } from './harness/programs.ts';
import { environment, type Report } from './harness/report.ts';
import { rounds } from './harness/settings.ts';
import { type Contestant, contestant, type Way } from './samenode/contestants.ts';

const ROUNDS = rounds(3);
const BULK_BYTES = 1 << 30;

const BARE = 'no mesh, bare bridge';
const BARE_RULES = 'only rules in the pods, bare bridge';
const BARE_MESH = 'kmesh, bare bridge';
const NODE = 'no mesh, node';
const NODE_RULES = 'only rules in the pods, node';
const KUBE_PROXY = 'kube-proxy, node';
const NODE_MESH = 'kmesh, node';

const ways: readonly Way[] = [
  { name: BARE, busyNode: false, by: 'address' },
  { name: BARE_RULES, busyNode: false, by: 'rules' },
  { name: BARE_MESH, busyNode: false, by: 'kmesh' },
  { name: NODE, busyNode: true, by: 'address' },
  { name: NODE_RULES, busyNode: true, by: 'rules' },
  { name: KUBE_PROXY, busyNode: true, by: 'kube-proxy' },
  { name: NODE_MESH, busyNode: true, by: 'kmesh' },
];

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

/** Order of the measurements. */
const measurements: readonly ((one: Contestant) => Promise<Found>)[] = [
  async ({ client, node, to }) => {
    const before = processorTime(node.cgroup);
    const { perSecond, requests } = await runWrk(client, to, { connections: 64, seconds: 2 });
    return { [MANY]: perSecond, [CPU]: ((processorTime(node.cgroup) - before) / requests) * 1_000 };
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

const bounds: readonly Bound[] = [
  { figure: MANY, of: BARE_MESH, to: BARE, kind: 'atLeast', bound: 1.05 },
  { figure: MANY, of: NODE_MESH, to: NODE, kind: 'atLeast', bound: 1.15 },
  { figure: MANY, of: NODE_MESH, to: KUBE_PROXY, kind: 'atLeast', bound: 1.2 },
  ...[
    { of: BARE_MESH, to: BARE },
    { of: NODE_MESH, to: NODE },
  ].flatMap((pair): Bound[] => [
    { figure: ONE, ...pair, kind: 'atLeast', bound: 1 },
    { figure: P50, ...pair, kind: 'atMost', bound: 1 },
    { figure: P99, ...pair, kind: 'atMost', bound: 1 },
    { figure: FRESH, ...pair, kind: 'atLeast', bound: 0.85 },
    { figure: BULK, ...pair, kind: 'atLeast', bound: 1 },
    { figure: CPU, ...pair, kind: 'atMost', bound: 1 },
  ]),
  { figure: FRESH, of: NODE_MESH, to: KUBE_PROXY, kind: 'atLeast', bound: 1 },
  ...[
    { of: BARE_MESH, to: BARE_RULES },
    { of: NODE_MESH, to: NODE_RULES },
  ].flatMap((pair): Bound[] => [
    { figure: MANY, ...pair, kind: 'atLeast', bound: 1 },
    { figure: FRESH, ...pair, kind: 'atLeast', bound: 0.9 },
  ]),
];

/** The suite `samenode`. */
export async function suite(): Promise<Report> {
  requirePrograms('wrk', 'nginx', 'taskset');
  await using stack = new AsyncDisposableStack();
  const contestants: Contestant[] = [];
  for (const way of ways) contestants.push(await contestant(stack, way));
  pinPrograms();
  for (const { client, to } of contestants) await warmUp(client, to);
  const taken = await interleave({ contestants, measurements, rounds: ROUNDS });
  return {
    suite: 'samenode',
    environment: environment({ rounds: taken.length }),
    figures: figuresOf(taken, units, contestants),
    ratios: bounds.map((bound) => ratioOf(taken, bound)),
  };
}
