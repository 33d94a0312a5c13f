/** Why a stream ended, as the metric `istio_xds_connection_terminations_total` names it (ambient contract 3.4). */
export type TerminationReason = 'ConnectionError' | 'Reconnect' | 'Error' | 'Complete';

/** How long to wait: `double` the last time, the `current` time and then forget it, or not at all. */
export type RetryRule = 'double' | 'current' | 'atOnce';

const initialMilliseconds = 10;
const maximumMilliseconds = 15_000;
/** A stream that lived this long was a good one. */
const goodStreamMilliseconds = 60_000;
/** A stream that ended sooner did nothing useful. */
const shortStreamMilliseconds = 1_000;
/** So many short streams in a row are retried as quickly as their rule says; more would be a busy loop. */
const toleratedShortStreams = 3;

/** The waiting times between connection attempts, from 10 ms to 15 s, each ± 20 % so that nodes spread out. */
export class Backoff {
  readonly #random: () => number;
  #current = initialMilliseconds;
  #shortStreams = 0;

  /** `random` gives numbers from 0 to below 1. */
  constructor(random: () => number = Math.random) {
    this.#random = random;
  }

  /** Milliseconds to wait after a stream that lived `livedMilliseconds` and ended in a way that asks for `rule`. */
  next(rule: RetryRule, livedMilliseconds: number): number {
    this.#shortStreams = livedMilliseconds < shortStreamMilliseconds ? this.#shortStreams + 1 : 0;
    if (livedMilliseconds >= goodStreamMilliseconds) this.#current = initialMilliseconds;
    return this.#withJitter(Math.max(this.#byRule(rule), rule === 'double' ? 0 : this.#floor()));
  }

  #byRule(rule: RetryRule): number {
    if (rule === 'double') {
      this.#current = Math.min(maximumMilliseconds, this.#current * 2);
      return this.#current;
    }
    const delay = rule === 'current' ? this.#current : 0;
    this.#current = initialMilliseconds;
    return delay;
  }

  /** Grows with every short stream beyond the tolerated ones. */
  #floor(): number {
    const excess = this.#shortStreams - toleratedShortStreams;
    return excess <= 0 ? 0 : Math.min(maximumMilliseconds, initialMilliseconds * 2 ** excess);
  }

  #withJitter(milliseconds: number): number {
    return Math.round(milliseconds * (0.8 + 0.4 * this.#random()));
  }
}
