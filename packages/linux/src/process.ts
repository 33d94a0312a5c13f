import { addon } from './addon.ts';
import { checkResult } from './errors.ts';

/** Numbers of the capabilities of Linux that a process may want to keep, from `linux/capability.h`. */
const capabilityNumbers = {
  dacOverride: 1,
  netBindService: 10,
  netAdmin: 12,
  netRaw: 13,
  sysPtrace: 19,
  sysAdmin: 21,
  perfmon: 38,
  bpf: 39,
} as const;

type LinuxCapability = keyof typeof capabilityNumbers;

/**
 * Gives up every capability that is not in `keep`, in every thread and for every program that is started from here, and sets
 * `no_new_privs`. There is no way back. What the process did not have it does not get.
 *
 * @throws SystemCallError `KMESH_PRIVILEGES_FAILED` when a thread could not; the others have
 */
export function dropPrivileges(keep: readonly LinuxCapability[]): void {
  let [low, high] = [0, 0];
  for (const name of keep) {
    const bit = capabilityNumbers[name];
    if (bit < 32) low |= 1 << bit;
    else high |= 1 << (bit - 32);
  }
  const result = addon().restrictProcess(low >>> 0, high >>> 0);
  checkResult(result, 'KMESH_PRIVILEGES_FAILED', 'cannot give up privileges in every thread', 'capset');
}

/**
 * Makes system calls that a node proxy never makes fail with EPERM, in every thread and for every program that is started
 * from here: tracing, mounts, modules, another kernel, clocks, keys. There is no way back. After {@link dropPrivileges}, for
 * it needs `no_new_privs`.
 *
 * @throws SystemCallError `KMESH_SECCOMP_FAILED` when the kernel has no seccomp filters, or a thread has one of its own
 */
export function denySystemCalls(): void {
  checkResult(addon().denySystemCalls(), 'KMESH_SECCOMP_FAILED', 'cannot filter system calls', 'seccomp');
}

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
