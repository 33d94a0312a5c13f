/** Milliseconds of work between two pauses. */
const workMilliseconds = 0.2;
/** The kernel adds its timer slack, some 50 µs. */
const pauseMilliseconds = 0.01;

/** Called by a long piece of work every few dozen microseconds. */
export type Pause = () => void;

/** For work whose processor nobody else waits for. */
export const withoutPauses: Pause = () => undefined;

/**
 * Sleeps for a moment whenever a fifth of a millisecond has been worked. A thread that wakes when it has just had a little
 * more than its share is not given the processor at once, and the kernel looks again only at its next tick, up to 4 ms later
 * (Linux 6.18, EEVDF), however low the priority of who runs. So a long piece of work has to let go of it by itself.
 *
 * Blocks the calling thread: not for one with an event loop that others wait for.
 */
export function createPauses(): Pause {
  const cell = new Int32Array(new SharedArrayBuffer(Int32Array.BYTES_PER_ELEMENT));
  let since = performance.now();
  return () => {
    if (performance.now() - since < workMilliseconds) return;
    Atomics.wait(cell, 0, 0, pauseMilliseconds);
    since = performance.now();
  };
}
