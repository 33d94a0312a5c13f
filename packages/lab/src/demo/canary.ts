import { setTimeout as delay } from 'node:timers/promises';
import type { MeshUpdate, Route } from '@kmesh/api';
import type { Tally } from './traffic.ts';

/** A service whose new version gets a growing share of the connections by the weight of a route. */
export interface CanaryScene {
  /** Name of the demo's target. */
  readonly target: string;
  /** Endpoint of the new version. */
  readonly endpoint: string;
  /** Returns the route that gives the new version `percent` of the connections. */
  route(percent: number): Route;
}

/** Progress of a canary. */
export interface CanaryState {
  readonly name: string;
  /** Intended share of the new version, in percent. */
  readonly wanted: number;
  /** Connections since the weight was changed, and those of them that the new version answered. */
  readonly connections: number;
  readonly answered: number;
}

/** A running canary. */
interface Canary {
  state(tally: Tally): CanaryState;
  stop(): void;
}

const steps = [0, 10, 50, 100] as const;
/** Duration of each step in a demo without a time limit. */
const standardStepMilliseconds = 8_000;
/** Rounds that began under the previous weight are not counted under the new one. */
const settleMilliseconds = 1_000;

/** Moves the weight 0 → 10 → 50 → 100 % repeatedly until stopped; a demo with a time limit sees every step. */
export function startCanary(
  scene: CanaryScene,
  update: (changes: readonly MeshUpdate[]) => void,
  options: { readonly forMilliseconds: number | undefined; readonly tally: Tally },
): Canary {
  const { tally, forMilliseconds = Number.POSITIVE_INFINITY } = options;
  const step = Math.min(standardStepMilliseconds, forMilliseconds / steps.length);
  const stopping = new AbortController();
  const { signal } = stopping;
  let wanted: number = steps[0];
  let before = countsOf(scene, tally);
  const run = async () => {
    for (let index = 0; !signal.aborted; index = (index + 1) % steps.length) {
      wanted = steps[index] ?? 0;
      update([{ kind: 'route', route: scene.route(wanted) }]);
      const settle = Math.min(settleMilliseconds, step / 2);
      await delay(settle, undefined, { signal });
      before = countsOf(scene, tally);
      await delay(step - settle, undefined, { signal });
    }
  };
  run().catch(() => undefined);
  return {
    state: (now) => {
      const { connections, answered } = countsOf(scene, now);
      return {
        name: scene.target,
        wanted,
        connections: connections - before.connections,
        answered: answered - before.answered,
      };
    },
    stop: () => stopping.abort(),
  };
}

function countsOf(
  { target, endpoint }: CanaryScene,
  tally: Tally,
): { connections: number; answered: number } {
  const answers = tally.byEndpoint.get(target) ?? new Map<string, number>();
  const connections = [...answers.values()].reduce((sum, count) => sum + count, 0);
  return { connections, answered: answers.get(endpoint) ?? 0 };
}
