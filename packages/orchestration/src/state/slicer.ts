import { setImmediate as nextTurn } from 'node:timers/promises';

/**
 * Cuts long work into slices, so that the event loop is never held for much longer than one of them. Ask `due` after each
 * small step, and await `pause` when it is true.
 */
export class Slicer {
  readonly #milliseconds: number;
  #sliceEnd: number;

  constructor(milliseconds: number) {
    this.#milliseconds = milliseconds;
    this.#sliceEnd = performance.now() + milliseconds;
  }

  /** Whether this slice is used up. */
  get due(): boolean {
    return performance.now() >= this.#sliceEnd;
  }

  /** Lets the event loop take its turn, then begins a new slice. */
  async pause(): Promise<void> {
    await nextTurn();
    this.#sliceEnd = performance.now() + this.#milliseconds;
  }
}
