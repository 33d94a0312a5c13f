import { setImmediate as nextTurn } from 'node:timers/promises';

/** Cuts long work into slices, so that the event loop is never held for much longer than one of them. */
export class Slicer {
  readonly #milliseconds: number;
  #sliceEnd: number;

  constructor(milliseconds: number) {
    this.#milliseconds = milliseconds;
    this.#sliceEnd = performance.now() + milliseconds;
  }

  /** Whether this slice is used up; then `await` {@link Slicer.pause}. */
  get due(): boolean {
    return performance.now() >= this.#sliceEnd;
  }

  /** Lets the event loop take its turn. */
  async pause(): Promise<void> {
    await nextTurn();
    this.#sliceEnd = performance.now() + this.#milliseconds;
  }
}
