import { type BackoffSettings, doubledWait, spreadWait } from '@kmesh/api';

/** Why a stream ended, as the metric `istio_xds_connection_terminations_total` names it (ambient contract 3.4). */
export type TerminationReason = 'ConnectionError' | 'Reconnect' | 'Error' | 'Complete';

/** How long to wait: `double` the last time, the `current` time and then forget it, or not at all. */
export type RetryRule = 'double' | 'current' | 'atOnce';

const settings: BackoffSettings = { firstMilliseconds: 10, maximumMilliseconds: 15_000, jitter: 0.2 };
/** A stream that lived this long was a good one. */
const goodStreamMilliseconds = 60_000;
/** A stream that ended sooner did nothing useful. */
const shortStreamMilliseconds = 1_000;
/** So many short streams in a row are retried as quickly as their rule says; more would be a busy loop. */
const toleratedShortStreams = 3;

/** The waiting times between connection attempts, from 10 ms to 15 s, each ± 20 % so that nodes spread out. */
export class Backoff {
  readonly #random: () => number;
  /** The current time is that of so many failures in a row. */
  #failures = 1;
  #shortStreams = 0;

  /** `random` gives numbers from 0 to below 1. */
  constructor(random: () => number = Math.random) {
    this.#random = random;
  }

  /** Milliseconds to wait after a stream that lived `livedMilliseconds` and ended in a way that asks for `rule`. */
  next(rule: RetryRule, livedMilliseconds: number): number {
    this.#shortStreams = livedMilliseconds < shortStreamMilliseconds ? this.#shortStreams + 1 : 0;
    if (livedMilliseconds >= goodStreamMilliseconds) this.#failures = 1;
    const wait = Math.max(this.#byRule(rule), rule === 'double' ? 0 : this.#floor());
    return Math.round(spreadWait(settings, wait, this.#random()));
  }

  #byRule(rule: RetryRule): number {
    if (rule === 'double') {
      this.#failures++;
      return doubledWait(settings, this.#failures);
    }
    const delay = rule === 'current' ? doubledWait(settings, this.#failures) : 0;
    this.#failures = 1;
    return delay;
  }

  /** Grows with every short stream beyond the tolerated ones. */
  #floor(): number {
    const excess = this.#shortStreams - toleratedShortStreams;
    return excess <= 0 ? 0 : doubledWait(settings, excess + 1);
  }
}
