import { openSync, readSync } from 'node:fs';

/** The longest stall of an event loop for which the loop itself is to blame. */
export interface OwnDelay {
  /** Milliseconds beyond the interval, the time during which the thread was ready and had no CPU left out. */
  longest(): number;
  reset(): void;
}

const intervalMilliseconds = 1;

/**
 * Watches the event loop of the main thread. Next to the loop's own delay histogram it tells a slow program from a busy
 * machine: the kernel says for how long the thread waited for a CPU that others used.
 */
export function watchOwnDelay(): OwnDelay {
  const file = openSync('/proc/thread-self/schedstat', 'r');
  const text = Buffer.alloc(128);
  const waited = (): number =>
    Number(text.toString('latin1', 0, readSync(file, text, 0, text.length, 0)).split(' ')[1]) / 1e6;
  let longest = 0;
  let before = { at: performance.now(), waited: waited() };
  const look = (): void => {
    const now = { at: performance.now(), waited: waited() };
    longest = Math.max(longest, now.at - before.at - (now.waited - before.waited) - intervalMilliseconds);
    before = now;
  };
  setInterval(look, intervalMilliseconds).unref();
  return {
    longest: () => {
      look();
      return longest;
    },
    reset: () => {
      before = { at: performance.now(), waited: waited() };
      longest = 0;
    },
  };
}
