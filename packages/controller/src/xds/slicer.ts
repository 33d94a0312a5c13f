import { performance } from 'node:perf_hooks';
import { setImmediate } from 'node:timers/promises';

/**
 * Cuts long work into slices so that the event loop stays responsive. Ask `due()` after each small step and await
 * `pause()` when it is true.
 */
export class Slicer {
  readonly #sliceMilliseconds: number;
  #end: number;

  constructor(sliceMilliseconds: number) {
    this.#sliceMilliseconds = sliceMilliseconds;
    this.#end = performance.now() + sliceMilliseconds;
  }

  due(): boolean {
    return performance.now() >= this.#end;
  }

  /** Lets everything else that is waiting run, then begins a new slice. */
  async pause(): Promise<void> {
    await setImmediate();
    this.restart();
  }

  /** Begins a new slice without a pause: after another wait that let the event loop run. */
  restart(): void {
    this.#end = performance.now() + this.#sliceMilliseconds;
  }
}
