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
