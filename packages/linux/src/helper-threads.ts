import { readdirSync, readFileSync } from 'node:fs';
import { setPriority } from 'node:os';

const nice = 5;

/**
 * Lets the threads that help V8 to collect garbage and to compile come after the others of this process: their work is that of
 * control and scrape thread, and would else displace a data thread that has the same processor. The calling thread and its own
 * priority stay as they are; a thread that cannot be changed does too.
 */
export function lowerHelperThreads(): void {
  for (const id of readdirSync('/proc/self/task')) {
    try {
      if (!readFileSync(`/proc/self/task/${id}/comm`, 'utf8').trim().endsWith('V8Worker')) continue;
      // On Linux a priority belongs to a thread.
      setPriority(Number(id), nice);
    } catch {
      // It has ended meanwhile, or already has a lower priority that only a privileged process may raise.
    }
  }
}
