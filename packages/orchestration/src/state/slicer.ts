import { setImmediate as nextTurn, setTimeout as sleep } from 'node:timers/promises';

/**
 * Cuts long work into slices, so that the event loop is never held for much longer than one of them. Ask `due` after each
 * small step, and await `pause` when it is true.
 *
 * Work that nobody waits for and that leaves much garbage should rest between slices: V8 collects in small steps beside it
 * then, where it would else fall behind, grow its heap and stop the loop for 20 ms to catch up.
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

  /** Whether this slice is used up. */
  get due(): boolean {
    return performance.now() >= this.#sliceEnd;
  }

  /** Lets the event loop take its turn, then begins a new slice. */
  async pause(): Promise<void> {
    if (this.#restMilliseconds > 0) await sleep(this.#restMilliseconds);
    else await nextTurn();
    this.#sliceEnd = performance.now() + this.#milliseconds;
  }
}
