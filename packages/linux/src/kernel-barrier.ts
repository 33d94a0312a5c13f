import { addon } from './addon.ts';
import { systemCallError } from './errors.ts';

/**
 * Resolves when every BPF program that was running when it was called has ended, so that memory which only those
 * could still be reading may be reused. Takes some tens of milliseconds; the event loop is not blocked.
 *
 * `membarrier(MEMBARRIER_CMD_GLOBAL)` waits for an RCU grace period. Where the kernel refuses it (`nohz_full`), an update
 * of a map-in-map is done instead, which waits for the same before it returns.
 *
 * @throws SystemCallError `KMESH_BARRIER_FAILED`
 */
export async function kernelBarrier(): Promise<void> {
  const result = await addon().kernelBarrier();
  if (result < 0) {
    throw systemCallError(-result, 'KMESH_BARRIER_FAILED', 'cannot wait for running programs', 'membarrier');
  }
}
