/**
 * Routes by connection: the time to compile them and one change of them; the shares of 10,000 real connections, on each
 * path and across both; and how long a change takes to be in force while 64 clients dial.
 */
import type { MeshUpdate } from '@kmesh/api';
import { createLab, type LabMesh, startMesh } from '@kmesh/lab';
import { kernelObjectPath } from '@kmesh/lab/testing/kernel/kernel-path.ts';
import { untilTablesFollow } from '@kmesh/lab/testing/traffic/paths.ts';
import {
  deviations,
  type SplitScene,
  splitBy,
  startSplitScene,
} from '@kmesh/lab/testing/traffic/split-scene.ts';
import { MeshState } from '@kmesh/orchestration';
import { loadKernelObject } from '@kmesh/runtime';
import { atMost, environment, type Figure, figure, type Ratio, type Report } from './harness/report.ts';
import { rounds } from './harness/settings.ts';
import { tablesOver } from './hook/loads.ts';
import { ROUTED_SERVICES, ROUTES, routedMesh, routeUpdate, routeUpdates } from './hook/routed.ts';

const ROUNDS = rounds(5);
const CHANGES = 100;
const DIALS = 10_000;
const CHANGES_UNDER_LOAD = 200;
const CLIENTS = 64;

const splits: readonly (readonly number[])[] = [
  [90, 10, 0],
  [50, 50, 0],
  [99, 1, 0],
  [60, 30, 10],
];

/** Nodes of the versions (the client is on node 0), and whether the kernel path is on. */
const places = [
  { name: 'kernel path', kernelPath: true, nodes: [0, 0, 0] },
  { name: 'both paths', kernelPath: true, nodes: [0, 1, 0] },
  { name: 'tunnel path', kernelPath: false, nodes: [0, 1, 0] },
] as const;

/** The suite `routes`. */
export async function suite(): Promise<Report> {
  const figures: Figure[] = [];
  const ratios: Ratio[] = [];
  await measureCompiling(figures, ratios);
  for (const place of places) await measureShares(place, figures, ratios);
  return { suite: 'routes', environment: environment(), figures, ratios };
}

async function measureCompiling(figures: Figure[], ratios: Ratio[]): Promise<void> {
  const all: number[] = [];
  const changes: number[] = [];
  for (let round = 0; round < ROUNDS; round++) {
    const view = new MeshState();
    using object = await loadKernelObject({ path: kernelObjectPath });
    const tables = tablesOver(view, object);
    await tables.apply(view.apply(routedMesh()));
    const timed = async (updates: readonly MeshUpdate[]) => {
      const start = performance.now();
      await tables.apply(view.apply(updates));
      return performance.now() - start;
    };
    all.push(await timed(routeUpdates(10)));
    for (let change = 0; change < CHANGES; change++) {
      changes.push(await timed([routeUpdate(change, 11 + round)]));
    }
  }
  const where = `${ROUTES} routes, ${ROUTED_SERVICES} services`;
  const whole = figure(`routes into the kernel tables: ${where}`, 'all', 'ms', all);
  const one = figure(`routes into the kernel tables: ${where}`, 'one weight', 'ms', changes);
  figures.push(whole, one);
  ratios.push(atMost('ms for all routes', whole.value, 200), atMost('ms for one change', one.value, 20));
}

async function measureShares(
  { name, kernelPath, nodes }: (typeof places)[number],
  figures: Figure[],
  ratios: Ratio[],
): Promise<void> {
  await using lab = await createLab();
  await lab.node();
  await lab.node();
  await using mesh = await startMesh(lab, { kernelPath });
  const scene = await startSplitScene(mesh, nodes);
  let failed = 0;
  for (const weights of splits) {
    await mesh.apply(splitBy(scene, weights));
    await untilTablesFollow(mesh);
    const { pod } = scene.client;
    const report = await pod.dial({ to: scene.to, mode: 'http', connections: DIALS, concurrency: 16 });
    failed += report.failed;
    const off = Math.max(...deviations(weights, report.byEndpoint));
    ratios.push(atMost(`${name}, ${weights.join(':')}: standard deviations off`, off, 3));
    const got = weights.map((_, index) => (report.byEndpoint[`v${index + 1}`] ?? 0) / DIALS);
    for (const [index, share] of got.entries()) {
      figures.push(figure(`${name}, ${weights.join(':')}`, `v${index + 1}`, '%', [share * 100]));
    }
  }
  ratios.push(atMost(`${name}: failed connections`, failed, 0));
  await measureChanges({ name, mesh, scene }, figures, ratios);
}

/** Measures the time from sending a change until it is acknowledged, that is, until it is in force. */
async function measureChanges(
  { name, mesh, scene }: { readonly name: string; readonly mesh: LabMesh; readonly scene: SplitScene },
  figures: Figure[],
  ratios: Ratio[],
): Promise<void> {
  const { pod } = scene.client;
  const dialing = pod.startDialing({ to: scene.to, mode: 'http', connections: 0, concurrency: CLIENTS });
  const times: number[] = [];
  for (let change = 0; change < CHANGES_UNDER_LOAD; change++) {
    const sent = performance.now();
    await mesh.apply(splitBy(scene, [1 + (change % 9), 1, 1]));
    times.push(performance.now() - sent);
  }
  const { failed } = await dialing.stop();
  figures.push(figure(`${name}, ${CLIENTS} clients dialling`, 'until a change is in force', 'ms', times));
  ratios.push(
    atMost(`${name}: longest time until a change is in force, ms`, Math.max(...times), 1_000),
    atMost(`${name}: failed connections while routes change`, failed, 0),
  );
}
