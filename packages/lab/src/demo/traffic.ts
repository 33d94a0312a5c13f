import { setTimeout as delay } from 'node:timers/promises';
import type { Pod } from '../pods/pod.ts';
import type { DialReport } from '../traffic/dial.ts';
import type { DemoTarget } from './scene.ts';

const connectionsOfRound = 60;
const concurrency = 8;
const pauseMilliseconds = 250;

/** Traffic that runs until stopped. */
interface Traffic {
  /** Starts no more rounds and waits for the running ones. */
  stop(): Promise<void>;
}

/** Drives every target from the client pod, round after round, and keeps the tally. */
export function startTraffic(client: Pod, targets: readonly DemoTarget[], tally: Tally): Traffic {
  const stopping = new AbortController();
  const running = targets.map(async (target) => {
    while (!stopping.signal.aborted) {
      const report = await client.dial({
        to: target.to,
        mode: target.mode,
        connections: connectionsOfRound,
        concurrency,
      });
      addReport(tally, target, report);
      await delay(pauseMilliseconds, undefined, { signal: stopping.signal }).catch(() => undefined);
    }
  });
  return {
    stop: async () => {
      stopping.abort();
      await Promise.all(running);
    },
  };
}

/** What the demo's clients have seen so far. */
export interface Tally {
  connections: number;
  failed: number;
  /** Answers by target name and endpoint name. */
  readonly byEndpoint: Map<string, Map<string, number>>;
  readonly failures: Map<string, number>;
}

/** The object that `--json` prints as the last line. */
interface DemoResult {
  readonly connections: number;
  readonly failed: number;
  readonly byEndpoint: Readonly<Record<string, Readonly<Record<string, number>>>>;
  readonly path: { readonly kernel: number; readonly tunnel: number; readonly outside: number };
  /** Mean time of the connect hook, nanoseconds. */
  readonly hookNs: number;
}

/** Returns a tally in which every expected endpoint has count 0. */
export function emptyTally(targets: readonly DemoTarget[]): Tally {
  return {
    connections: 0,
    failed: 0,
    byEndpoint: new Map(
      targets.map(({ name, endpoints }) => [name, new Map(endpoints.map((endpoint) => [endpoint, 0]))]),
    ),
    failures: new Map(),
  };
}

/** Adds the results of one round of dials to a target. */
function addReport(tally: Tally, target: DemoTarget, report: DialReport): void {
  tally.connections += report.connections;
  tally.failed += report.failed + report.wrongPeer;
  const answers = tally.byEndpoint.get(target.name) ?? new Map<string, number>();
  tally.byEndpoint.set(target.name, answers);
  for (const [endpoint, count] of Object.entries(report.byEndpoint)) {
    answers.set(endpoint, (answers.get(endpoint) ?? 0) + count);
  }
  for (const { step, reason, count } of report.failures) {
    const text = `${target.name}: ${step} ${reason}`;
    tally.failures.set(text, (tally.failures.get(text) ?? 0) + count);
  }
  if (report.wrongPeer > 0)
    tally.failures.set(`${target.name}: getpeername shows another address`, report.wrongPeer);
}

/** Returns whether nothing failed and every expected endpoint answered. */
export function allReached(tally: Tally, targets: readonly DemoTarget[]): boolean {
  return (
    tally.connections > 0 &&
    tally.failed === 0 &&
    targets.every(({ name, endpoints, optional }) =>
      endpoints.every(
        (endpoint) => endpoint === optional || (tally.byEndpoint.get(name)?.get(endpoint) ?? 0) > 0,
      ),
    )
  );
}

/** Returns the tally as the object of `--json`. */
export function resultOf(tally: Tally, path: DemoResult['path'], hookNs: number): DemoResult {
  return {
    connections: tally.connections,
    failed: tally.failed,
    byEndpoint: Object.fromEntries(
      [...tally.byEndpoint].map(([name, answers]) => [name, Object.fromEntries(answers)]),
    ),
    path,
    hookNs,
  };
}
