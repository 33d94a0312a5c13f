/**
 * Mean time of the connect hook by the kernel's run statistics, compared with an empty program in the same run, and the
 * time to write the tables.
 *
 * At each table size the client dials the same number of services, spread evenly over the whole table: only the table
 * grows, not the used part of it. The rows "any service" dial all of them at random, which shows the cost of cold
 * caches. The client has an exclusive CPU while it is measured; see hook/native/dial-random.c.
 *
 * The kernel's placement of a program and its tables changes the time by up to 30 ns for as long as they are loaded:
 * measurements of several loads are interleaved, and the median is over all of them.
 */
import { monitorEventLoopDelay } from 'node:perf_hooks';
import { loadEmptyProgram } from '@kmesh/lab/testing/kernel/empty-program.ts';
import { kernelObjectPath } from '@kmesh/lab/testing/kernel/kernel-path.ts';
import type { BpfProgram } from '@kmesh/linux';
import { MeshState } from '@kmesh/orchestration';
import { loadKernelObject } from '@kmesh/runtime';
import { atMost, environment, type Figure, figure, type Ratio, type Report } from './harness/report.ts';
import { rounds } from './harness/settings.ts';
import { ENDPOINTS_PER_SERVICE, meshUpdates } from './hook/bench-mesh.ts';
import { HookLoads, tablesOver } from './hook/loads.ts';
import { measureRouted } from './hook/routed.ts';

const sizes = [100, 1000, 10_000, 20_000] as const;
const ROUNDS = rounds(3, 2);
/** Services that the client uses at every size. */
const DIALLED = 100;

export async function suite(): Promise<Report> {
  const figures: Figure[] = [];
  const ratios: Ratio[] = [];
  await measureHook(figures, ratios);
  await measureRouted(figures, ratios);
  await measureProgramming(figures, ratios);
  return { suite: 'hook', environment: environment(), figures, ratios };
}

async function measureHook(figures: Figure[], ratios: Ratio[]): Promise<void> {
  const view = new MeshState();
  await using loads = await HookLoads.open(view);
  await using stack = new AsyncDisposableStack();
  const emptyPrograms: BpfProgram[] = [];
  for (let load = 0; load < loads.instances.length; load++)
    emptyPrograms.push(stack.use(await loadEmptyProgram()).program('empty_connect4'));

  let programmed = 0;
  const hits: number[] = [];
  for (const size of sizes) {
    await loads.apply(view.apply(meshUpdates(programmed, size)));
    programmed = size;
    const some = { services: DIALLED, step: size / DIALLED };
    const any = { services: size, step: 1 };
    const rounds = { empty: [] as number[], gate: [] as number[], hit: [] as number[], any: [] as number[] };
    for (const program of emptyPrograms) await loads.measureProgram(program, any);
    for (let round = 0; round < ROUNDS; round++) {
      for (const [index, { object, tables }] of loads.instances.entries()) {
        loads.remove(tables);
        const program = emptyPrograms[index];
        if (program !== undefined) rounds.empty.push(await loads.measureProgram(program, some));
        rounds.gate.push(await loads.measure(object, some));
        loads.enrol(tables);
        rounds.hit.push(await loads.measure(object, some));
        rounds.any.push(await loads.measure(object, any));
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
  const sockops = loads.instances.map(({ object }) => meanSince(object.program('kmesh_sockops')));
  figures.push(figure('sockops', 'per call', 'ns', sockops));
}

async function measureProgramming(figures: Figure[], ratios: Ratio[]): Promise<void> {
  const view = new MeshState();
  const change = view.apply(meshUpdates(0, 20_000));
  const seconds: number[] = [];
  const delays: number[] = [];
  for (let round = 0; round < ROUNDS; round++) {
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

function meanSince(program: BpfProgram): number {
  const { runTimeNs, runCount } = program.info();
  return Number(runTimeNs) / Number(runCount);
}
