import { monitorEventLoopDelay } from 'node:perf_hooks';
import type { LoopDelay } from '@kmesh/probe';

/** Follows the event loop of this thread: one sample for each of its turns, so that a sleeping thread is not woken. */
interface LoopDelayMeter {
  /** What was measured since the last call. */
  read(): LoopDelay;
  close(): void;
}

const nanosecondsPerSecond = 1e9;

/** Begins to measure. */
export function measureLoopDelay(): LoopDelayMeter {
  const histogram = monitorEventLoopDelay({ samplePerIteration: true });
  histogram.enable();
  return {
    read: () => {
      // The turn in which nothing was measured yet has no percentiles.
      const measured = histogram.count > 0;
      const delay = {
        median: measured ? histogram.percentile(50) / nanosecondsPerSecond : 0,
        p99: measured ? histogram.percentile(99) / nanosecondsPerSecond : 0,
        longest: measured ? histogram.max / nanosecondsPerSecond : 0,
      };
      histogram.reset();
      return delay;
    },
    close: () => {
      histogram.disable();
    },
  };
}
