/**
 * The daemon's memory at rest, by kind and thread, and its time to become ready: idle, with 10,000 and with 100,000
 * workloads. Runs the executable `KMESH_BINARY`, `dist/kmesh` by default. `KMESH_BENCH_ROUNDS` and
 * `KMESH_BENCH_WORKLOADS` shorten a run.
 */
import { spawn } from 'node:child_process';
import { text } from 'node:stream/consumers';
import { fileURLToPath } from 'node:url';
import type { MemoryKinds } from './footprint/memory-kinds.ts';
import type { FootprintRound } from './footprint/round.ts';
import { executableToMeasure } from './harness/executable.ts';
import { atMost, environment, type Figure, figure, type Ratio, type Report } from './harness/report.ts';
import { largestMesh, rounds } from './harness/settings.ts';

const count = rounds(3, 2);
const meshes = [
  { name: 'idle', workloads: 0, services: 0, bound: 70 },
  { name: '10,000 workloads', workloads: 10_000, services: 500, bound: 110 },
  { name: '100,000 workloads', workloads: 100_000, services: 5_000, bound: 250 },
].filter(({ workloads }) => workloads <= largestMesh());
const readyBound = 500;

const kinds: readonly (keyof MemoryKinds)[] = [
  'resident',
  'anonymous',
  'heaps',
  'allocator',
  'file',
  'code',
  'shared',
];

/** The suite `footprint`. */
export async function suite(): Promise<Report> {
  const binary = executableToMeasure();
  const figures: Figure[] = [];
  const ratios: Ratio[] = [];
  for (const { name, workloads, services, bound } of meshes) {
    const runs: FootprintRound[] = [];
    for (let round = 0; round < count; round++) runs.push(await measure(binary, workloads, services));
    for (const kind of kinds) {
      const values = runs.map((run) => run[kind]);
      figures.push(figure(`${kind} memory`, name, 'MB', values));
      if (kind === 'resident')
        ratios.push(atMost(`resident memory, ${name} (MB)`, Math.max(...values), bound));
    }
    const ready = figure(
      'start to ready',
      name,
      'ms',
      runs.map((run) => run.ready),
    );
    figures.push(ready);
    // The median of all rounds: unlike memory, the time increases with other load on the machine.
    if (workloads === 0) ratios.push(atMost('start to ready, idle (ms)', ready.value, readyBound));
    for (const [thread, count] of Object.entries(runs[0]?.threads ?? {}))
      figures.push(figure(`threads ${thread}`, name, '', [count]));
  }
  return { suite: 'footprint', environment: environment(), figures, ratios };
}

async function measure(binary: string, workloads: number, services: number): Promise<FootprintRound> {
  const program = fileURLToPath(new URL('footprint/round.ts', import.meta.url));
  const child = spawn('unshare', ['--net', process.execPath, program, `${workloads}`, `${services}`], {
    stdio: ['pipe', 'pipe', 'inherit'],
    env: { ...process.env, KMESH_BINARY: binary },
  });
  const output = await text(child.stdout);
  if (output === '') throw new Error(`a round with ${workloads} workloads failed: see above`);
  return JSON.parse(output) as FootprintRound;
}
