/**
 * Preloaded into a daemon: makes system calls fail as in a kernel that is locked down to confidentiality, in which
 * programs may not read kernel memory.
 */
import { addon } from '../../../../linux/src/addon.ts';

const PROBE_READ_KERNEL = 113;

const native = addon() as {
  -readonly [Name in keyof ReturnType<typeof addon>]: ReturnType<typeof addon>[Name];
};
const { probeHelper } = native;
native.probeHelper = (programType, helper) =>
  helper === PROBE_READ_KERNEL ? 0 : probeHelper(programType, helper);
