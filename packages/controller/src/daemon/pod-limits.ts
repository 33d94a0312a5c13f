import type { Logger, OverviewLimit } from '@kmesh/api';
import type { ControlMetrics, LogOwner } from '@kmesh/probe';

/** Longest list of pods and limits; the metrics count all. */
const MOST_LISTED = 1_000;

type Limit = OverviewLimit['limit'];

/** Counts, logs and lists pods that reached their share of descriptors, access log lines or metric series. */
export class PodLimits {
  readonly #logger: Logger;
  readonly #metrics: ControlMetrics;
  readonly #reached = new Map<string, OverviewLimit>();

  constructor(logger: Logger, metrics: ControlMetrics) {
    this.#logger = logger;
    this.#metrics = metrics;
  }

  /** Reports a refused connection; the pod's proxy logs it once. */
  connectionRefused({ namespace, name }: LogOwner): void {
    this.#metrics.shareExceeded(namespace, name);
    this.#note('descriptors', namespace, name);
  }

  linesSuppressed({ namespace, name }: LogOwner, lines: number): void {
    this.#metrics.linesSuppressed(namespace, name, lines);
    this.#note('log lines', namespace, name, lines);
  }

  /** @param suppressed lines suppressed in an episode that has ended; `undefined` if an episode begins */
  logEpisode({ namespace, name }: LogOwner, suppressed: number | undefined): void {
    const pod = `${namespace}/${name}`;
    if (suppressed === undefined) {
      this.#logger.warn('a pod exceeds its share of the access log; further lines are suppressed', {
        pod,
      });
    } else {
      this.#logger.warn('access log lines of a pod are written again', { pod, left_out: suppressed });
    }
  }

  seriesOverflowed({ namespace, name }: LogOwner): void {
    this.#metrics.seriesOverflowed(namespace, name);
    if (!this.#note('series', namespace, name)) return;
    this.#logger.warn(
      'a pod has reached its share of the metric series; connections with further peers are counted as other',
      { pod: `${namespace}/${name}` },
    );
  }

  list(): readonly OverviewLimit[] {
    return [...this.#reached.values()];
  }

  /** Returns whether the pod reached this limit for the first time. */
  #note(limit: Limit, namespace: string, name: string, times = 1): boolean {
    const key = `${limit} ${namespace}/${name}`;
    const known = this.#reached.get(key);
    if (known === undefined && this.#reached.size >= MOST_LISTED) {
      const [oldest] = this.#reached.keys();
      if (oldest !== undefined) this.#reached.delete(oldest);
    }
    this.#reached.set(key, { limit, namespace, name, times: (known?.times ?? 0) + times });
    return known === undefined;
  }
}
