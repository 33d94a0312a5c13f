import { addon, type NativeSocketAddress } from './addon.ts';
import { checkResult, systemCallError } from './errors.ts';
import { type SocketOptionName, socketOptionSpelling, socketOptions } from './socket-constants.ts';
import { descriptor, integerIn } from './validate.ts';

const EAGAIN = 11;

/** An address of a socket. IPv4-mapped IPv6 is given as IPv4. */
type SocketAddress = NativeSocketAddress;

/** `getsockname`. @throws SystemCallError `KMESH_SOCKET_FAILED` */
export function socketLocalAddress(fd: number): SocketAddress {
  return addressOr(addon().socketName(descriptor('fd', fd), false), fd, 'local address', 'getsockname');
}

/** `getpeername`. @throws SystemCallError `KMESH_SOCKET_FAILED`, errno `ENOTCONN` when there is none. */
export function socketPeerAddress(fd: number): SocketAddress {
  return addressOr(addon().socketName(descriptor('fd', fd), true), fd, 'peer address', 'getpeername');
}

/** The kernel's cookie of the socket, what `bpf_get_socket_cookie` gives. @throws SystemCallError `KMESH_SOCKET_FAILED` */
export function socketCookie(fd: number): bigint {
  return BigInt.asUintN(64, read(fd, 'cookie'));
}

/** Reads an integer option. @throws SystemCallError `KMESH_SOCKET_FAILED` */
export function getSocketOption(fd: number, name: SocketOptionName): number {
  return Number(read(fd, name));
}

/** What `SIOCINQ` says: bytes that arrived and were not read. @throws SystemCallError `KMESH_SOCKET_FAILED` */
export function unreadBytes(fd: number): number {
  const result = addon().socketUnreadBytes(descriptor('fd', fd));
  return checkResult(result, 'KMESH_SOCKET_FAILED', `cannot read descriptor ${fd}`, 'ioctl(SIOCINQ)');
}

/**
 * Reads up to `length` bytes by `splice` and drops them.
 *
 * @returns how many there were; 0 also at the end of the stream
 * @throws SystemCallError `KMESH_SOCKET_FAILED`
 */
export function spliceAway(fd: number, length: number): number {
  const result = addon().socketSpliceAway(descriptor('fd', fd), integerIn('length', length, 1, 0x1_0000));
  if (result === -EAGAIN) return 0;
  return checkResult(result, 'KMESH_SOCKET_FAILED', `cannot read descriptor ${fd}`, 'splice');
}

function read(fd: number, name: SocketOptionName): bigint {
  const [level, option] = socketOptions[name];
  const value = addon().socketGetInteger(descriptor('fd', fd), level, option);
  if (typeof value !== 'number') return value;
  const message = `cannot read an option of descriptor ${fd}`;
  throw systemCallError(-value, 'KMESH_SOCKET_FAILED', message, `getsockopt(${socketOptionSpelling[name]})`);
}

function addressOr(answer: SocketAddress | number, fd: number, what: string, syscall: string): SocketAddress {
  if (typeof answer !== 'number') return answer;
  throw systemCallError(
    -answer,
    'KMESH_SOCKET_FAILED',
    `cannot read the ${what} of descriptor ${fd}`,
    syscall,
  );
}
