import { setImmediate as nextTurn, setTimeout as sleep } from 'node:timers/promises';

/**
 * Cuts long work into time slices to bound event loop blocking. Check `due` after each small step and await `pause`
 * when it is true.
 *
 * Background work that allocates heavily should rest between slices: V8 then collects incrementally. Without rest its
 * incremental marking falls behind, the heap grows, and a full collection blocks the loop for 20 ms.
 */
export class Slicer {
  readonly #milliseconds: number;
  readonly #restMilliseconds: number;
  #sliceEnd: number;

  constructor(milliseconds: number, restMilliseconds = 0) {
    this.#milliseconds = milliseconds;
    this.#restMilliseconds = restMilliseconds;
    this.#sliceEnd = performance.now() + milliseconds;
  }

  /** Whether the slice has ended. */
  get due(): boolean {
    return performance.now() >= this.#sliceEnd;
  }

  /** Yields to the event loop, then begins a new slice. */
  async pause(): Promise<void> {
    if (this.#restMilliseconds > 0) await sleep(this.#restMilliseconds);
    else await nextTurn();
    this.#sliceEnd = performance.now() + this.#milliseconds;
  }
}
