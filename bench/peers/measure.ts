/** Measurements of a client and a server with a contestant between them. */

import { type Bound, type Found, figuresOf, interleave, ratioOf } from '../harness/interleave.ts';
import { processorTime } from '../harness/processor-time.ts';
import { pinPrograms, requirePrograms, runIperf, runPaced, runWrk, warmUp } from '../harness/programs.ts';
import { environment, type Report } from '../harness/report.ts';
import { quick, rounds } from '../harness/settings.ts';
import {
  type Contestant,
  ENVOY_HTTP,
  ENVOY_TCP,
  HAPROXY,
  KMESH,
  KMESH_TUNNEL,
  NO_MESH,
  startContestant,
  ZTUNNEL,
} from './contestants.ts';
import { type EnvoyProgram, findEnvoy } from './envoy-program.ts';

export const MANY = 'requests, 64 connections';
export const MANY_P50 = 'p50, 64 connections';
export const CPU = 'CPU per 1,000 requests';
const ONE = 'requests, 1 connection';
export const ONE_P50 = 'p50, 1 connection';
const ONE_P99 = 'p99, 1 connection';
const PACED_P50 = 'p50 at 1,000 requests/s';
const PACED_P99 = 'p99 at 1,000 requests/s';
export const FRESH = 'new connections';
export const BULK = 'bulk, 1 stream';
export const BULKS = 'bulk, 4 streams';

const units: Readonly<Record<string, string>> = {
  [MANY]: 'requests/s',
  [MANY_P50]: 'µs',
  [CPU]: 'ms',
  [ONE]: 'requests/s',
  [ONE_P50]: 'µs',
  [ONE_P99]: 'µs',
  [PACED_P50]: 'µs',
  [PACED_P99]: 'µs',
  [FRESH]: 'connections/s',
  [BULK]: 'Gbit/s',
  [BULKS]: 'Gbit/s',
};

/** One measurement and its figures. */
interface Measurement {
  readonly finds: readonly string[];
  readonly run: (one: Contestant, seconds: number) => Promise<Found>;
}

/** Order of the measurements. */
const measurements: readonly Measurement[] = [
  {
    finds: [MANY, MANY_P50, CPU],
    run: async ({ client, cgroup, to }, seconds) => {
      const before = processorTime(cgroup);
      const { perSecond, requests, p50Us } = await runWrk(client, to, { connections: 64, seconds });
      const spent = processorTime(cgroup) - before;
      return { [MANY]: perSecond, [MANY_P50]: p50Us, [CPU]: (spent / requests) * 1_000 };
    },
  },
  {
    finds: [ONE, ONE_P50, ONE_P99],
    run: async ({ client, to }) => {
      const { perSecond, p50Us, p99Us } = await runWrk(client, to, { connections: 1, seconds: 1 });
      return { [ONE]: perSecond, [ONE_P50]: p50Us, [ONE_P99]: p99Us };
    },
  },
  {
    finds: [PACED_P50, PACED_P99],
    run: async ({ client, to }, seconds) => {
      const { p50, p99 } = await runPaced(client, to, { rate: 1_000, seconds });
      return { [PACED_P50]: p50, [PACED_P99]: p99 };
    },
  },
  {
    finds: [FRESH],
    run: async ({ client, to }, seconds) => {
      const { perSecond } = await runWrk(client, to, { connections: 16, seconds, close: true });
      return { [FRESH]: perSecond };
    },
  },
  {
    finds: [BULK],
    run: async ({ client, to }, seconds) => ({ [BULK]: await runIperf(client, to, { streams: 1, seconds }) }),
  },
  {
    finds: [BULKS],
    run: async ({ client, to }, seconds) => ({
      [BULKS]: await runIperf(client, to, { streams: 4, seconds }),
    }),
  },
];

/** Contestants of a run, all by default. A ztunnel is one of them if `ZTUNNEL_BIN` is set. */
const everyone = [
  ...[NO_MESH, KMESH, KMESH_TUNNEL],
  ...(process.env['ZTUNNEL_BIN'] === undefined ? [] : [ZTUNNEL]),
  ...[ENVOY_TCP, ENVOY_HTTP, HAPROXY],
];

interface PeersOptions {
  readonly suite: string;
  readonly nodes: 1 | 2;
  readonly bounds: readonly Bound[];
  readonly contestants?: readonly string[];
  /** Number of rounds, if not by the run's settings. */
  readonly rounds?: number;
  /** Duration of one measurement in seconds. */
  readonly seconds?: number;
  /** The figures to report; all by default. */
  readonly figures?: readonly string[];
}

/** Starts the contestants, runs the rounds, and checks the bounds. @throws Error naming a program that is missing */
export async function measurePeers(options: PeersOptions): Promise<Report> {
  const { contestants: names = everyone, bounds, nodes, suite, figures = Object.keys(units) } = options;
  const { rounds: count = rounds(3), seconds = quick ? 1 : 2 } = options;
  const envoy = names.some((name) => name === ENVOY_TCP || name === ENVOY_HTTP) ? findEnvoy() : undefined;
  requirePrograms('wrk', 'nginx', 'iperf3', 'taskset', 'cc');
  if (names.includes(HAPROXY)) requirePrograms('haproxy', 'setpriv');
  await using stack = new AsyncDisposableStack();
  const contestants: Contestant[] = [];
  for (const name of names) contestants.push(await begin(stack, name, nodes, envoy));
  pinPrograms();
  for (const { client, to } of contestants) await warmUp(client, to);
  const wanted = measurements.filter(({ finds }) => finds.some((name) => figures.includes(name)));
  const taken = await interleave({
    contestants,
    measurements: wanted.map(
      ({ run }) =>
        (one: Contestant) =>
          run(one, seconds),
    ),
    rounds: count,
  });
  return {
    suite,
    environment: environment({
      rounds: taken.length,
      seconds,
      ...(envoy === undefined ? {} : { envoy: envoy.version }),
    }),
    figures: figuresOf(taken, units, contestants),
    ratios: bounds.map((bound) => ratioOf(taken, bound)),
  };
}

async function begin(
  stack: AsyncDisposableStack,
  name: string,
  nodes: 1 | 2,
  envoy: EnvoyProgram | undefined,
): Promise<Contestant> {
  try {
    return await startContestant(stack, name, { nodes, ...(envoy === undefined ? {} : { envoy }) });
  } catch (cause) {
    throw new Error(`${name} cannot be started`, { cause });
  }
}
