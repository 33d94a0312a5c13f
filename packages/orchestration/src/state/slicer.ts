import { setTimeout as sleep } from 'node:timers/promises';

/**
 * Cuts long work into time slices to bound event loop blocking. Check `due` after each small step and await `pause`
 * when it is true.
 *
 * Background work that allocates heavily should rest between slices: V8 then collects incrementally. Without rest its
 * incremental marking falls behind, the heap grows, and a full collection blocks the loop for 20 ms.
 *
 * A turn of the event loop has at most one slice of all that do not rest: the slices of several works in one turn would
 * block the loop for their sum.
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

/** Works that wait for their turn. While there are any, the next turn of the event loop resumes the first. */
const waiting: (() => void)[] = [];

function nextTurn(): Promise<void> {
  return new Promise((resolve) => {
    waiting.push(resolve);
    if (waiting.length === 1) setImmediate(resumeFirst);
  });
}

function resumeFirst(): void {
  const resume = waiting.shift();
  if (waiting.length > 0) setImmediate(resumeFirst);
  resume?.();
}
