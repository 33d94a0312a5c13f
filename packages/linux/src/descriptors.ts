import { addon } from './addon.ts';
import { checkResult } from './errors.ts';
import { descriptor, integerIn } from './validate.ts';

/** Closes a descriptor that the caller owns. @throws SystemCallError `KMESH_DESCRIPTOR_FAILED` */
export function closeDescriptor(fd: number): void {
  const result = addon().closeDescriptor(descriptor('fd', fd));
  checkResult(result, 'KMESH_DESCRIPTOR_FAILED', `cannot close descriptor ${fd}`, 'close');
}

/** A close-on-exec copy of a descriptor, owned by the caller. @throws SystemCallError `KMESH_DESCRIPTOR_FAILED` */
export function duplicateDescriptor(fd: number): number {
  const copy = addon().duplicateDescriptor(descriptor('fd', fd));
  return checkResult(
    copy,
    'KMESH_DESCRIPTOR_FAILED',
    `cannot duplicate descriptor ${fd}`,
    'fcntl(F_DUPFD_CLOEXEC)',
  );
}

/**
 * Raises the limit of open descriptors as far as allowed, at most to `wanted`, and returns the limit that holds then. Node
 * itself raises only the soft limit, so this matters where the hard one may be raised too.
 *
 * @throws SystemCallError `KMESH_DESCRIPTOR_FAILED`
 */
export function raiseDescriptorLimit(wanted = 1_048_576): number {
  const limit = addon().raiseDescriptorLimit(integerIn('wanted', wanted, 1, 0x7fff_ffff));
  return checkResult(limit, 'KMESH_DESCRIPTOR_FAILED', 'cannot raise RLIMIT_NOFILE', 'setrlimit');
}
