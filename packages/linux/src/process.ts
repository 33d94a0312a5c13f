import { addon } from './addon.ts';
import { checkResult } from './errors.ts';

/** Numbers of Linux capabilities that a process may keep, from `linux/capability.h`. */
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
 * Drops every capability that is not in `keep`, in every thread and for every program started from here, and sets
 * `no_new_privs`. Irreversible. Grants no capability.
 *
 * @throws SystemCallError `KMESH_PRIVILEGES_FAILED` if a thread failed; the others have dropped theirs
 */
export function dropPrivileges(keep: readonly LinuxCapability[]): void {
  let [low, high] = [0, 0];
  for (const name of keep) {
    const bit = capabilityNumbers[name];
    if (bit < 32) low |= 1 << bit;
    else high |= 1 << (bit - 32);
  }
  const result = addon().restrictProcess(low >>> 0, high >>> 0);
  checkResult(result, 'KMESH_PRIVILEGES_FAILED', 'cannot drop privileges in every thread', 'capset');
}

/**
 * Makes system calls that a node proxy never needs fail with EPERM, in every thread and for every program started from
 * here: tracing, mounts, modules, kexec, clocks, keys. Irreversible. Call after {@link dropPrivileges}, because it
 * requires `no_new_privs`.
 *
 * @throws SystemCallError `KMESH_SECCOMP_FAILED` if the kernel has no seccomp filters, or a thread has a different one
 */
export function denySystemCalls(): void {
  checkResult(addon().denySystemCalls(), 'KMESH_SECCOMP_FAILED', 'cannot filter system calls', 'seccomp');
}

/** The shortest time slice that the kernel grants; its default is about 3 ms. */
const shortestNanoseconds = 100_000;

/**
 * Requests short time slices for the calling thread, so that it runs soon after it wakes up: for a thread whose units
 * of work are much shorter than the slices of other threads. Its share of the CPU does not change. Requires Linux 6.12;
 * earlier kernels ignore it. Returns false if a sandbox forbids the call.
 */
export function requestShortSlices(): boolean {
  return addon().requestSlice(shortestNanoseconds) === 0;
}

/** A larger heap is left to V8, which collects it incrementally. */
const maximumHeapBytes = 48 * 1024 * 1024;

/**
 * Returns start-up memory to the kernel: garbage of this thread's heap (with `--expose-gc`), free memory of the C
 * library, and the mapped pages of the executable, which are mapped again from the page cache when needed. Blocks the
 * thread for up to 20 ms.
 *
 * @throws KMESH_ADDON_BROKEN
 */
export function releaseStartMemory(): void {
  if (process.memoryUsage().heapUsed < maximumHeapBytes)
    globalThis.gc?.({ type: 'major', execution: 'sync', flavor: 'last-resort' });
  addon().releaseMemory();
}

/**
 * Returns free memory of the C library to the kernel, in a helper thread: of many blocks that are free but for a few
 * between them, the library returns none by itself.
 *
 * @throws KMESH_ADDON_BROKEN
 */
export function releaseFreeMemory(): Promise<void> {
  return addon().trimAllocator();
}
