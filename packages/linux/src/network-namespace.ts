import { fstatSync } from 'node:fs';
import { addon } from './addon.ts';
import { OwnedDescriptor } from './descriptors.ts';
import { checkResult, descriptor, integerIn, pathOf, systemCallError } from './errors.ts';

const netNamespaceType = 0x4000_0000; // CLONE_NEWNET

/** Identity of a namespace while it exists: device and inode of its nsfs file. */
interface NamespaceIdentity {
  readonly device: bigint;
  readonly inode: bigint;
}

/** A network namespace, kept alive until `close()`. */
export class NetworkNamespace implements Disposable {
  /** Its origin, for messages. */
  readonly label: string;
  readonly #descriptor: OwnedDescriptor;
  #cookie: bigint | undefined;

  /** Takes ownership of `fd`. */
  constructor(fd: number, label: string) {
    this.#descriptor = new OwnedDescriptor(fd, `network namespace ${label}`);
    this.label = label;
  }

  /** The descriptor, which stays owned by this object. */
  get fd(): number {
    return this.#descriptor.fd;
  }

  get closed(): boolean {
    return this.#descriptor.closed;
  }

  /**
   * The namespace's cookie, as `bpf_get_netns_cookie` returns it. Requires Linux 5.14.
   *
   * @throws SystemCallError `KMESH_NAMESPACE_COOKIE_FAILED`
   */
  get cookie(): bigint {
    if (this.#cookie !== undefined) return this.#cookie;
    const cookie = addon().namespaceCookie(this.fd);
    if (typeof cookie === 'number') {
      const message = `cannot read the cookie of network namespace ${this.label}`;
      throw systemCallError(-cookie, 'KMESH_NAMESPACE_COOKIE_FAILED', message, 'getsockopt(SO_NETNS_COOKIE)');
    }
    this.#cookie = cookie;
    return cookie;
  }

  get identity(): NamespaceIdentity {
    const status = fstatSync(this.fd, { bigint: true });
    return { device: status.dev, inode: status.ino };
  }

  get inode(): bigint {
    return this.identity.inode;
  }

  /** A path with which other processes can open it while this object is open. */
  get path(): string {
    return `/proc/${process.pid}/fd/${this.fd}`;
  }

  /** Returns whether both refer to the same namespace. */
  sameAs(other: NetworkNamespace): boolean {
    const [mine, theirs] = [this.identity, other.identity];
    return mine.device === theirs.device && mine.inode === theirs.inode;
  }

  /** Returns a second handle of the namespace. @throws SystemCallError `KMESH_NAMESPACE_OPEN_FAILED` */
  duplicate(): NetworkNamespace {
    return new NetworkNamespace(duplicated(this.fd, this.label), this.label);
  }

  close(): void {
    this.#descriptor.close();
  }

  [Symbol.dispose](): void {
    this.close();
  }
}

/** Opens a namespace by path, such as `/run/netns/pod`. @throws SystemCallError `KMESH_NAMESPACE_OPEN_FAILED` */
export function openNetworkNamespace(path: string): NetworkNamespace {
  const fd = addon().namespaceOpen(pathOf('path', path));
  return verified(
    checkResult(fd, 'KMESH_NAMESPACE_OPEN_FAILED', `cannot open network namespace ${path}`, 'open'),
    path,
  );
}

/** Opens the namespace of a process. @throws SystemCallError `KMESH_NAMESPACE_OPEN_FAILED` */
export function networkNamespaceOfProcess(pid: number): NetworkNamespace {
  return openNetworkNamespace(`/proc/${integerIn('pid', pid, 1, 0x7fff_ffff)}/ns/net`);
}

/** Opens the namespace of the calling thread, which is the process's. */
export function currentNetworkNamespace(): NetworkNamespace {
  return openNetworkNamespace('/proc/thread-self/ns/net');
}

/**
 * Takes ownership of a namespace's descriptor, for instance one that a CNI agent sent. A descriptor of anything else is
 * closed.
 *
 * @throws SystemCallError `KMESH_NAMESPACE_OPEN_FAILED`
 */
export function networkNamespaceFromDescriptor(fd: number): NetworkNamespace {
  return verified(descriptor('fd', fd), `descriptor ${fd}`);
}

/**
 * Creates an unnamed namespace with `lo` up. It ends when its last reference is closed.
 *
 * @throws SystemCallError `KMESH_NAMESPACE_CREATE_FAILED`
 */
export function createNetworkNamespace(label = 'unnamed'): NetworkNamespace {
  const fd = addon().namespaceCreate();
  const message = `cannot create network namespace ${label} (this needs CAP_SYS_ADMIN)`;
  return new NetworkNamespace(checkResult(fd, 'KMESH_NAMESPACE_CREATE_FAILED', message, 'unshare'), label);
}

function verified(fd: number, label: string): NetworkNamespace {
  const type = addon().namespaceType(fd);
  if (type === netNamespaceType) return new NetworkNamespace(fd, label);
  addon().closeDescriptor(fd);
  const message = `${label} is not a network namespace`;
  throw systemCallError(
    type < 0 ? -type : 22,
    'KMESH_NAMESPACE_OPEN_FAILED',
    message,
    'ioctl(NS_GET_NSTYPE)',
  );
}

function duplicated(fd: number, label: string): number {
  const copy = addon().duplicateDescriptor(fd);
  const message = `cannot duplicate the descriptor of network namespace ${label}`;
  return checkResult(copy, 'KMESH_NAMESPACE_OPEN_FAILED', message, 'fcntl');
}

/** A network interface as its own namespace sees it. */
interface NetworkInterface {
  readonly index: number;
  readonly name: string;
  /** Such as `veth`; empty for a physical device. */
  readonly kind: string;
  readonly mac: Uint8Array;
  readonly addresses: readonly string[];
  /** Index of the other end of a veth pair if that is in the other namespace, else 0. */
  readonly peer: number;
}

/**
 * Lists the interfaces of a namespace, each with its addresses and its other end in `other`. The kernel reports whether
 * the other end is there; a process in the namespace cannot influence that.
 *
 * @throws SystemCallError `KMESH_INTERFACE_LIST_FAILED`
 */
export function listInterfaces(namespace: NetworkNamespace, other: NetworkNamespace): NetworkInterface[] {
  const list = addon().interfaceList(namespace.fd, other.fd);
  if (typeof list !== 'number') return list;
  const message = `cannot list the interfaces of network namespace ${namespace.label}`;
  throw systemCallError(-list, 'KMESH_INTERFACE_LIST_FAILED', message, 'netlink');
}
