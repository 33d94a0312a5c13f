import { setImmediate } from 'node:timers/promises';
import type { MeshUpdate } from '@kmesh/api';
import type { MeshState } from './mesh-state.ts';
import type { MeshChange } from './mesh-view.ts';

/** How {@link applySliced} divides its work. */
export interface SliceOptions {
  /** How long one slice may hold the event loop, in milliseconds; 5 by default. */
  readonly sliceMilliseconds?: number;
}

/** Updates between two looks at the clock: applying one takes microseconds, reading the clock is not free. */
const UPDATES_PER_CLOCK_READ = 64;

/**
 * Applies a large push without holding the event loop: yields one {@link MeshChange} per slice and gives the loop a
 * turn between slices. `updates` is read lazily, so decoding may happen inside it and counts towards the slice.
 *
 * Each slice is atomic to readers, the whole push is not: between two slices a reader sees the mesh as if the
 * control plane had sent the slices as separate pushes. Every lookup stays consistent in itself (a workload and its
 * endpoints change together). Merge the changes with `mergeChanges` where only the end result matters.
 */
export async function* applySliced(
  state: MeshState,
  updates: Iterable<MeshUpdate>,
  options: SliceOptions = {},
): AsyncGenerator<MeshChange, void, undefined> {
  const milliseconds = options.sliceMilliseconds ?? 5;
  const iterator = updates[Symbol.iterator]();
  const slice = new UpdateSlice(iterator);
  while (!slice.exhausted) {
    slice.deadline = performance.now() + milliseconds;
    yield state.apply(slice);
    if (!slice.exhausted) await setImmediate();
  }
}

/** The part of an iterator that fits before a deadline; iterating it again goes on where it stopped. */
class UpdateSlice implements Iterable<MeshUpdate> {
  deadline = 0;
  exhausted = false;
  readonly #source: Iterator<MeshUpdate>;

  constructor(source: Iterator<MeshUpdate>) {
    this.#source = source;
  }

  *[Symbol.iterator](): Iterator<MeshUpdate> {
    for (let count = 1; ; count++) {
      const { done, value } = this.#source.next();
      if (done === true) {
        this.exhausted = true;
        return;
      }
      yield value;
      if (count % UPDATES_PER_CLOCK_READ === 0 && performance.now() >= this.deadline) return;
    }
  }
}
