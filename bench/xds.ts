/**
 * The mesh from a control plane: cost of the first push of 1,000, 10,000 and 100,000 workloads, delay of one endpoint
 * change afterwards, cost of a churn of one per cent of the workloads per second, and the effect of a config dump. The
 * daemon is the executable `KMESH_BINARY`, `dist/kmesh` by default, over TLS, and its memory is that of the whole
 * process. `KMESH_BENCH_ROUNDS` and `KMESH_BENCH_WORKLOADS` make a run shorter.
 */
import { spawn } from 'node:child_process';
import { text } from 'node:stream/consumers';
import { fileURLToPath } from 'node:url';
import { executableToMeasure } from './harness/executable.ts';
import { atMost, environment, type Figure, figure, type Ratio, type Report } from './harness/report.ts';
import { largestMesh, rounds } from './harness/settings.ts';
import type { Round } from './xds/round.ts';

const count = rounds(3, 2);
const meshes = [
  { workloads: 1_000, services: 100 },
  { workloads: 10_000, services: 500 },
  { workloads: 100_000, services: 5_000 },
].filter(({ workloads }) => workloads <= largestMesh());

const measured: readonly { what: string; unit: string; of: keyof Round; bound?: number }[] = [
  { what: 'size of the push', unit: 'MB', of: 'pushMegabytes' },
  { what: 'last byte to mesh state', unit: 'ms', of: 'inState', bound: 5_000 },
  { what: 'last byte to kernel tables', unit: 'ms', of: 'inKernel', bound: 5_000 },
  { what: 'longest delay of the event loop', unit: 'ms', of: 'delay', bound: 20 },
  { what: 'peak resident memory', unit: 'MB', of: 'peakMegabytes', bound: 400 },
  { what: 'resident memory afterwards', unit: 'MB', of: 'settledMegabytes', bound: 400 },
  { what: 'one endpoint change to kernel', unit: 'ms', of: 'change', bound: 50 },
  { what: 'CPU time of 1 % churn per second', unit: '% of a CPU', of: 'churnCpu', bound: 100 },
  { what: 'longest delay under churn', unit: 'ms', of: 'churnDelay', bound: 20 },
  { what: 'peak resident memory under churn', unit: 'MB', of: 'churnMegabytes', bound: 400 },
  { what: 'longest delay with a config dump', unit: 'ms', of: 'dumpDelay', bound: 20 },
  { what: 'peak resident memory with a config dump', unit: 'MB', of: 'dumpMegabytes', bound: 400 },
];

/** The suite `xds`. */
export async function suite(): Promise<Report> {
  const binary = executableToMeasure();
  const figures: Figure[] = [];
  const ratios: Ratio[] = [];
  for (const mesh of meshes) {
    const runs: Round[] = [];
    for (let round = 0; round < count; round++)
      runs.push(await measure(binary, mesh.workloads, mesh.services));
    const name = `${mesh.workloads} workloads`;
    for (const { what, unit, of, bound } of measured) {
      const percent = unit.startsWith('%') ? 100 : 1;
      const values = runs.map((run) => run[of] * percent);
      const added = figure(what, name, unit, values);
      figures.push(added);
      // Memory and delays must hold in every round, not in most of them.
      if (bound !== undefined) ratios.push(atMost(`${what}, ${name} (${unit})`, Math.max(...values), bound));
    }
  }
  return { suite: 'xds', environment: environment(), figures, ratios };
}

async function measure(binary: string, workloads: number, services: number): Promise<Round> {
  // The control plane and the observer represent other machines: they take no CPU from the daemon.
  const argv = ['--idle', '0', 'unshare', '--net', process.execPath, pathOf('xds/round.ts')];
  const child = spawn('chrt', [...argv, `${workloads}`, `${services}`], {
    env: { ...process.env, KMESH_BINARY: binary },
    stdio: ['pipe', 'pipe', 'inherit'],
  });
  const output = await text(child.stdout);
  if (output === '') throw new Error(`a round with ${workloads} workloads failed: see above`);
  return JSON.parse(output) as Round;
}

function pathOf(file: string): string {
  return fileURLToPath(new URL(file, import.meta.url));
}
