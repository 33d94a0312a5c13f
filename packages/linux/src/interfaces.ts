import { addon } from './addon.ts';
import { systemCallError } from './errors.ts';
import type { NetworkNamespace } from './network-namespace.ts';

/** A network interface as its own namespace sees it. */
interface NetworkInterface {
  readonly index: number;
  readonly name: string;
  /** Such as `veth`; empty for what is no virtual device. */
  readonly kind: string;
  readonly mac: Uint8Array;
  readonly addresses: readonly string[];
  /** Index of the other end of a pair, where that is in the namespace that was asked about; else 0. */
  readonly peer: number;
}

/**
 * Lists the interfaces of a namespace, each with its addresses and with where its other end is in `other`. The kernel says
 * whether the other end is there: nothing that a process in the namespace can set decides it.
 *
 * @throws SystemCallError `KMESH_INTERFACE_LIST_FAILED`
 */
export function listInterfaces(namespace: NetworkNamespace, other: NetworkNamespace): NetworkInterface[] {
  const list = addon().interfaceList(namespace.fd, other.fd);
  if (typeof list !== 'number') return list;
  const message = `cannot list the interfaces of network namespace ${namespace.label}`;
  throw systemCallError(-list, 'KMESH_INTERFACE_LIST_FAILED', message, 'netlink');
}
