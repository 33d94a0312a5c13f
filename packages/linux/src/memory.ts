import { addon } from './addon.ts';

/** A larger heap is collected by the engine itself, in steps that are not felt. */
const mostHeapBytes = 48 * 1024 * 1024;

/**
 * Gives back to the kernel what only the start of the process needed: garbage of this thread's heap where the engine was
 * started with `--expose-gc`, free memory of the C library, and the mapped pages of the executable, which come back from
 * the page cache when they are used again. The thread is stopped for up to 20 ms.
 *
 * @throws KMESH_ADDON_BROKEN
 */
export function releaseStartMemory(): void {
  if (process.memoryUsage().heapUsed < mostHeapBytes)
    globalThis.gc?.({ type: 'major', execution: 'sync', flavor: 'last-resort' });
  addon().releaseMemory();
}
