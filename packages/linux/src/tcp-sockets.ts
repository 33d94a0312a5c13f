import { addon, type NativeTcpSocketLayout } from './addon.ts';
import { systemCallError } from './errors.ts';
import type { NetworkNamespace } from './network-namespace.ts';

/** States of a TCP socket, numbered as the kernel does. */
export const tcpState = {
  established: 1,
  synSent: 2,
  synReceived: 3,
  finWait1: 4,
  finWait2: 5,
  timeWait: 6,
  closed: 7,
  closeWait: 8,
  lastAck: 9,
  listening: 10,
  closing: 11,
} as const;

/** All states except TIME_WAIT: a busy pod has thousands of those. */
const liveStates: readonly number[] = Object.values(tcpState).filter((state) => state !== tcpState.timeWait);

interface TcpSocketOptions {
  /** States of {@link tcpState} to list. Default: all but TIME_WAIT. */
  readonly states?: readonly number[];
}

/**
 * Lists the TCP sockets of a namespace, IPv4 and IPv6, with their byte counters, on a thread of libuv's pool
 * (NETLINK_SOCK_DIAG). Generates the cookie of each listed socket.
 *
 * @throws SystemCallError `KMESH_SOCKET_LIST_FAILED`
 */
export async function listTcpSockets(
  namespace: NetworkNamespace,
  { states = liveStates }: TcpSocketOptions = {},
): Promise<TcpSockets> {
  const mask = states.reduce((bits, state) => bits | (1 << state), 0);
  const list = await addon().tcpSockets(namespace.fd, mask);
  if (typeof list !== 'number') return new TcpSockets(list.bytes, list.count);
  const message = `cannot list the TCP sockets of network namespace ${namespace.label}`;
  throw systemCallError(-list, 'KMESH_SOCKET_LIST_FAILED', message, 'netlink(SOCK_DIAG_BY_FAMILY)');
}

/**
 * Closes sockets of a list, as `tcp_abort` does: the peer gets a reset, the owner ECONNABORTED. Skips sockets that have
 * ended meanwhile. Returns the number of closed sockets. Requires CONFIG_INET_DIAG_DESTROY.
 *
 * @throws SystemCallError `KMESH_SOCKET_DESTROY_FAILED`
 */
export async function destroyTcpSockets(
  namespace: NetworkNamespace,
  sockets: readonly Uint8Array[],
): Promise<number> {
  if (sockets.length === 0) return 0;
  const { size } = recordLayout();
  const records = new Uint8Array(sockets.length * size);
  sockets.forEach((socket, index) => {
    records.set(socket.subarray(0, size), index * size);
  });
  const result = await addon().tcpSocketsDestroy(namespace.fd, records, size);
  if (result >= 0) return result;
  const message = `cannot close TCP sockets of network namespace ${namespace.label}`;
  throw systemCallError(-result, 'KMESH_SOCKET_DESTROY_FAILED', message, 'netlink(SOCK_DESTROY)');
}

/** The sockets of {@link listTcpSockets}. A cursor over packed records, so that a socket costs no object. */
export class TcpSockets {
  readonly count: number;
  readonly #bytes: Uint8Array;
  readonly #view: DataView;
  readonly #layout = recordLayout();
  #at: number;

  constructor(bytes: Uint8Array, count: number) {
    this.count = count;
    this.#bytes = bytes;
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    this.#at = -this.#layout.size;
  }

  /** Moves to the next socket; returns false after the last one. */
  next(): boolean {
    this.#at += this.#layout.size;
    return this.#at < this.count * this.#layout.size;
  }

  get cookie(): number {
    return this.#wide(this.#layout.cookie);
  }
  /** One of {@link tcpState}. */
  get state(): number {
    return this.#bytes[this.#at + this.#layout.state] as number;
  }
  /** Bytes that the peer acknowledged, as in `tcp_info`: including the sequence numbers of SYN and FIN. */
  get bytesAcknowledged(): number {
    return this.#wide(this.#layout.bytesAcked);
  }
  /** Bytes received in order, including the sequence number of FIN. */
  get bytesReceived(): number {
    return this.#wide(this.#layout.bytesReceived);
  }
  /** Bytes in the receive queue; for a listener, connections in the accept backlog. */
  get receiveQueue(): number {
    return this.#view.getUint32(this.#at + this.#layout.receiveQueue, true);
  }
  /** SO_MARK; 0 without CAP_NET_ADMIN. */
  get mark(): number {
    return this.#view.getUint32(this.#at + this.#layout.mark, true);
  }
  /** As in the links of `/proc/PID/fd`: `socket:[INODE]`. */
  get inode(): number {
    return this.#view.getUint32(this.#at + this.#layout.inode, true);
  }
  /** Sixteen bytes; IPv4 addresses are mapped. */
  get localAddress(): Uint8Array {
    return this.#part(this.#layout.local, 16);
  }
  get remoteAddress(): Uint8Array {
    return this.#part(this.#layout.remote, 16);
  }
  get localPort(): number {
    return this.#view.getUint16(this.#at + this.#layout.localPort);
  }
  get remotePort(): number {
    return this.#view.getUint16(this.#at + this.#layout.remotePort);
  }
  /** The record for {@link destroyTcpSockets}. */
  get record(): Uint8Array {
    return this.#part(0, this.#layout.size);
  }

  #part(offset: number, length: number): Uint8Array {
    return this.#bytes.subarray(this.#at + offset, this.#at + offset + length);
  }

  /** Reads 64 bits as a number; the values stay below 2^53. */
  #wide(offset: number): number {
    const at = this.#at + offset;
    return this.#view.getUint32(at, true) + this.#view.getUint32(at + 4, true) * 4_294_967_296;
  }
}

let layout: NativeTcpSocketLayout | undefined;

function recordLayout(): NativeTcpSocketLayout {
  layout ??= addon().tcpSocketLayout();
  return layout;
}
