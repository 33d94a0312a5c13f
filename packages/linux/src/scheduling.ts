import { addon } from './addon.ts';

/** The shortest that the kernel gives; its own default is about 3 ms. */
const shortestNanoseconds = 100_000;

/**
 * Asks that the calling thread gets the processor soon after it wakes up and not for long at a time: for a thread whose
 * work comes in pieces that are much shorter than the turns of others. It gets no more of the processor than before. Linux
 * 6.12 and later does so, earlier ones ignore it. Returns false where a sandbox does not allow the call.
 */
export function requestShortTurns(): boolean {
  return addon().requestSlice(shortestNanoseconds) === 0;
}
