/**
 * The mesh from a control plane: what the first push of 1,000, 10,000 and 100,000 workloads costs the control thread,
 * how soon one endpoint change is in force afterwards, and what it costs when a hundredth of the workloads changes in
 * every second. Control plane and client are processes of their own.
 */
import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';
import { setTimeout as delay } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { engineOptions } from '../packages/kmesh/src/engine-options.ts';
import { atMost, environment, type Figure, figure, type Ratio, type Report } from './report.ts';

const rounds = 3;
const churnSeconds = 5;
const meshes = [
  { workloads: 1_000, services: 100 },
  { workloads: 10_000, services: 500 },
  { workloads: 100_000, services: 5_000 },
];

interface Measurement {
  /** Milliseconds from the last byte of the push to the whole mesh in the state, and in the kernel tables. */
  readonly inState: number;
  readonly inKernel: number;
  /** Milliseconds from the first byte of one endpoint change to the change in the kernel tables. */
  readonly change: number;
  /** Longest time that the event loop was late, in milliseconds, over the whole run. */
  readonly delay: number;
  /** The same without the time during which other processes had the CPUs. */
  readonly ownDelay: number;
  readonly peakMebibytes: number;
  readonly pushMebibytes: number;
  /** While endpoints change all the time: share of one CPU, and the same as above. */
  readonly churnCpu: number;
  readonly churnDelay: number;
  readonly churnOwnDelay: number;
  readonly churnMebibytes: number;
}

interface Message {
  readonly event: string;
  readonly port: number;
  readonly bytes: number;
  readonly begun: string;
  readonly written: string;
  readonly stateAt: string;
  readonly at: string;
  readonly workloads: number;
  readonly services: number;
  readonly longestDelay: number;
  readonly ownDelay: number;
  readonly peakBytes: number;
  readonly cpuShare: number;
  readonly responses: number;
}

/** The suite `xds`. */
export async function suite(): Promise<Report> {
  const figures: Figure[] = [];
  const ratios: Ratio[] = [];
  for (const mesh of meshes) {
    const runs: Measurement[] = [];
    for (let round = 0; round < rounds; round++) runs.push(await measure(mesh.workloads, mesh.services));
    const name = `${mesh.workloads} workloads`;
    const add = (what: string, unit: string, values: readonly number[], bound: number): void => {
      const added = figure(what, name, unit, values);
      figures.push(added);
      ratios.push(atMost(`${what}, ${name} (${unit})`, added.value, bound));
    };
    figures.push(
      figure(
        'size of the push',
        name,
        'MiB',
        runs.map((run) => run.pushMebibytes),
      ),
    );
    add(
      'last byte to mesh state',
      'ms',
      runs.map((run) => run.inState),
      5_000,
    );
    add(
      'last byte to kernel tables',
      'ms',
      runs.map((run) => run.inKernel),
      5_000,
    );
    add(
      'longest delay of the event loop',
      'ms',
      runs.map((run) => run.delay),
      20,
    );
    add(
      'the same without waiting for a CPU',
      'ms',
      runs.map((run) => run.ownDelay),
      20,
    );
    add(
      'peak resident memory',
      'MiB',
      runs.map((run) => run.peakMebibytes),
      400,
    );
    add(
      'one endpoint change to kernel',
      'ms',
      runs.map((run) => run.change),
      50,
    );
    add(
      'CPU time of 1 % churn per second',
      '% of a CPU',
      runs.map((run) => run.churnCpu * 100),
      100,
    );
    add(
      'longest delay under churn',
      'ms',
      runs.map((run) => run.churnDelay),
      20,
    );
    add(
      'the same under churn without waiting for a CPU',
      'ms',
      runs.map((run) => run.churnOwnDelay),
      20,
    );
    add(
      'peak resident memory under churn',
      'MiB',
      runs.map((run) => run.churnMebibytes),
      400,
    );
  }
  return { suite: 'xds', environment: environment(), figures, ratios };
}

async function measure(workloads: number, services: number): Promise<Measurement> {
  const server = start('push-server', [workloads, services]);
  const listening = await message(server, 'listening');
  const pushed = message(server, 'pushed');
  const subscriber = start('subscriber', [listening.port]);
  try {
    const applied = await message(subscriber, 'applied');
    if (applied.workloads !== workloads || applied.services !== services) {
      throw new Error(`only ${applied.workloads} workloads and ${applied.services} services arrived`);
    }
    const written = (await pushed).written;
    const changed = message(server, 'changed');
    const changeApplied = message(subscriber, 'changeApplied');
    server.send({ change: workloads >> 1 });
    const after = await changeApplied;
    const churn = await underChurn(server, subscriber);
    return {
      inState: Math.max(0, milliseconds(written, applied.stateAt)),
      inKernel: Math.max(0, milliseconds(written, applied.at)),
      change: milliseconds((await changed).begun, after.at),
      delay: after.longestDelay,
      ownDelay: after.ownDelay,
      peakMebibytes: after.peakBytes / 1024 / 1024,
      pushMebibytes: listening.bytes / 1024 / 1024,
      churnCpu: churn.cpuShare,
      churnDelay: churn.longestDelay,
      churnOwnDelay: churn.ownDelay,
      churnMebibytes: churn.peakBytes / 1024 / 1024,
    };
  } finally {
    await Promise.all([stop(subscriber), stop(server)]);
  }
}

/** Every response of the churn has been applied when this resolves, or the tables did not keep up: an error. */
async function underChurn(server: ChildProcess, subscriber: ChildProcess): Promise<Message> {
  subscriber.send('begin');
  const churned = message(server, 'churned');
  server.send({ churnSeconds });
  await churned;
  await delay(500);
  const measured = message(subscriber, 'stretch');
  subscriber.send('end');
  const stretch = await measured;
  if (stretch.responses !== churnSeconds * 10) {
    throw new Error(
      `only ${stretch.responses} of ${churnSeconds * 10} changes were in force after half a second`,
    );
  }
  return stretch;
}

function start(program: string, argv: readonly number[]): ChildProcess {
  const path = fileURLToPath(new URL(`xds/${program}.ts`, import.meta.url));
  return fork(path, argv.map(String), { execArgv: [...engineOptions] });
}

/** Both programs end when they lose their parent. */
async function stop(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null) return;
  const exited = once(child, 'exit');
  child.disconnect();
  await exited;
}

function message(child: ChildProcess, event: string): Promise<Message> {
  return new Promise((resolve, reject) => {
    const failed = (code: number | null): void => reject(new Error(`the process ended with code ${code}`));
    const look = (candidate: Message): void => {
      if (candidate.event !== event) return;
      child.off('message', look);
      child.off('exit', failed);
      resolve(candidate);
    };
    child.on('message', look);
    child.on('exit', failed);
  });
}

function milliseconds(from: string, to: string): number {
  return Number(BigInt(to) - BigInt(from)) / 1e6;
}
