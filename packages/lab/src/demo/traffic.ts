import { setTimeout as delay } from 'node:timers/promises';
import type { Pod } from '../pods/pod.ts';
import type { DemoTarget } from './scene.ts';
import { addReport, type Tally } from './tally.ts';

const connectionsOfRound = 60;
const concurrency = 8;
const pauseMilliseconds = 250;

/** Traffic that goes on until it is stopped. */
interface Traffic {
  /** Begins no more rounds and waits for those that run. */
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
