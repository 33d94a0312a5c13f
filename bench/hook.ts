/**
 * Mean time of the connect hook by the kernel's own run statistics, beside an empty program in the same run, and the time to
 * programme the tables.
 *
 * At each table size the client dials the same number of services, spread evenly over the whole table: what grows is the
 * table, not the part of it that is in use. The rows "any service" dial all of them at random, which shows what cold
 * caches add. The client has a CPU for itself while it is measured; see hook/native/dial-random.c.
 *
 * Where the kernel puts a program and its tables changes a run by up to 30 ns, for as long as they are loaded: several loads
 * are measured in turns, and the median is over all of them.
 */
import { monitorEventLoopDelay } from 'node:perf_hooks';
import { loadEmptyProgram } from '@kmesh/lab/testing/kernel/empty-program.ts';
import { createPodNamespace, kernelObjectPath } from '@kmesh/lab/testing/kernel/kernel-path.ts';
import { workload } from '@kmesh/lab/testing/kernel/mesh-records.ts';
import {
  type BpfObject,
  type BpfProgram,
  EventRing,
  enableProgramStatistics,
  kernelBarrier,
  type NetworkNamespace,
} from '@kmesh/linux';
import { MeshState } from '@kmesh/orchestration';
import { attachKernelObject, KernelTables, kernelMapsOf, loadKernelObject } from '@kmesh/runtime';
import { ENDPOINTS_PER_SERVICE, meshUpdates } from './hook/bench-mesh.ts';
import { Driver, ScratchCgroup } from './hook/driver.ts';
import { atMost, environment, type Figure, figure, type Ratio, type Report } from './report.ts';

const sizes = [100, 1000, 10_000, 20_000] as const;
const LOADS = 5;
const ROUNDS = 3;
const CONNECTS = 10_000;
/** Connects before each measurement: the round before, of another contestant, has used the caches. */
const WARM_UP = 6000;
/** Services that the client uses at every size. */
const DIALLED = 100;

const client = workload({ uid: 'Kubernetes//Pod/default/client', addresses: ['10.255.0.1'] });

export async function suite(): Promise<Report> {
  const figures: Figure[] = [];
  const ratios: Ratio[] = [];
  await measureHook(figures, ratios);
  await measureProgramming(figures, ratios);
  return { suite: 'hook', environment: environment(), figures, ratios };
}

async function measureHook(figures: Figure[], ratios: Ratio[]): Promise<void> {
  const view = new MeshState();
  await using loads = new AsyncDisposableStack();
  using empty = await loadEmptyProgram();
  using statistics = enableProgramStatistics();
  using pod = createPodNamespace();
  using cgroup = new ScratchCgroup();
  await using driver = new Driver(pod, cgroup);
  void statistics;
  const objects: BpfObject[] = [];
  for (let load = 0; load < LOADS; load++) {
    const object = loads.use(await loadKernelObject({ path: kernelObjectPath }));
    loads.use(new EventRing(object.map('events'), { recordSize: 128, onBatch: () => {} }));
    objects.push(object);
  }
  const instances = objects.map((object) => ({ object, tables: tablesOver(view, object) }));

  const emptyProgram = empty.program('empty_connect4');
  const measureEmpty = async (services: number, step: number) => {
    using _link = emptyProgram.attachCgroup(cgroup.path);
    await driver.dial(services, step, WARM_UP);
    return await meanOf(emptyProgram, () => driver.dial(services, step, CONNECTS));
  };
  const measureKmesh = async (object: BpfObject, services: number, step: number) => {
    const links = attachKernelObject(object, cgroup.path);
    try {
      await driver.dial(services, step, WARM_UP);
      return await meanOf(object.program('kmesh_connect4'), () => driver.dial(services, step, CONNECTS));
    } finally {
      for (const link of links.values()) link.close();
    }
  };

  let programmed = 0;
  const hits: number[] = [];
  for (const size of sizes) {
    const change = view.apply(meshUpdates(programmed, size));
    for (const { tables } of instances) await tables.apply(change);
    programmed = size;
    const step = size / DIALLED;
    const rounds = { empty: [] as number[], gate: [] as number[], hit: [] as number[], any: [] as number[] };
    await measureEmpty(size, 1);
    for (let round = 0; round < ROUNDS; round++) {
      for (const { object, tables } of instances) {
        tables.remove(pod.cookie);
        rounds.empty.push(await measureEmpty(DIALLED, step));
        rounds.gate.push(await measureKmesh(object, DIALLED, step));
        enrol(tables, pod);
        rounds.hit.push(await measureKmesh(object, DIALLED, step));
        rounds.any.push(await measureKmesh(object, size, 1));
      }
    }
    const name = `connect at ${size} services`;
    const baseline = figure(name, 'empty program', 'ns', rounds.empty);
    const gate = figure(name, 'not enrolled', 'ns', rounds.gate);
    const hit = figure(name, 'hit', 'ns', rounds.hit);
    figures.push(baseline, gate, hit, figure(name, 'hit, any service', 'ns', rounds.any));
    ratios.push(atMost(`hit / empty at ${size}`, hit.value / baseline.value, 3.5));
    ratios.push(atMost(`not enrolled / empty at ${size}`, gate.value / baseline.value, 1.5));
    hits.push(hit.value);
  }
  ratios.push(atMost('hit, largest / smallest table', Math.max(...hits) / (hits[0] ?? 1), 1.25));
  const sockops = objects.map((object) => meanSince(object.program('kmesh_sockops')));
  figures.push(figure('sockops', 'per call', 'ns', sockops));
}

async function measureProgramming(figures: Figure[], ratios: Ratio[]): Promise<void> {
  const view = new MeshState();
  const change = view.apply(meshUpdates(0, 20_000));
  const seconds: number[] = [];
  const delays: number[] = [];
  for (let round = 0; round < 3; round++) {
    using object = await loadKernelObject({ path: kernelObjectPath });
    const tables = tablesOver(view, object);
    const delay = monitorEventLoopDelay({ resolution: 1 });
    delay.enable();
    const start = performance.now();
    await tables.apply(change);
    seconds.push((performance.now() - start) / 1000);
    delay.disable();
    delays.push(delay.max / 1e6);
  }
  const endpoints = 20_000 * ENDPOINTS_PER_SERVICE;
  const time = figure(`programme ${endpoints} endpoints`, 'kmesh', 's', seconds);
  const block = figure('longest block of the event loop', 'kmesh', 'ms', delays);
  figures.push(time, block);
  ratios.push(atMost(`seconds to programme ${endpoints} endpoints`, time.value, 2));
}

function tablesOver(view: MeshState, object: Parameters<typeof kernelMapsOf>[0]): KernelTables {
  return new KernelTables({
    view,
    node: { node: '', network: '', clusterId: '' },
    maps: kernelMapsOf(object),
    barrier: kernelBarrier,
  });
}

function enrol(tables: KernelTables, pod: NetworkNamespace): void {
  if (!tables.enrol(pod.cookie, client, false)) throw new Error('the pod could not be enrolled');
}

/** Mean nanoseconds of the program's runs during `action`. */
async function meanOf(program: BpfProgram, action: () => Promise<void>): Promise<number> {
  const before = program.info();
  await action();
  const after = program.info();
  return Number(after.runTimeNs - before.runTimeNs) / Number(after.runCount - before.runCount);
}

function meanSince(program: BpfProgram): number {
  const { runTimeNs, runCount } = program.info();
  return Number(runTimeNs) / Number(runCount);
}
