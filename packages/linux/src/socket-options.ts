import { addon, type NativeSocketAddress } from './addon.ts';
import { descriptor, systemCallError } from './errors.ts';

/** Linux socket levels and options (`asm-generic/socket.h`, `netinet/in.h`, `linux/tcp.h`), as [level, option]. */
export const socketOptions = {
  reuseAddress: [1, 2],
  error: [1, 4],
  keepAlive: [1, 9],
  sendBuffer: [1, 7],
  receiveBuffer: [1, 8],
  reusePort: [1, 15],
  mark: [1, 36],
  cookie: [1, 57],
  namespaceCookie: [1, 71],
  transparent4: [0, 19],
  freebind4: [0, 15],
  bindAddressNoPort: [0, 24],
  receiveOriginalDestination4: [0, 20],
  ipv6Only: [41, 26],
  transparent6: [41, 75],
  freebind6: [41, 78],
  receiveOriginalDestination6: [41, 74],
  noDelay: [6, 1],
  keepAliveIdle: [6, 4],
  keepAliveInterval: [6, 5],
  keepAliveCount: [6, 6],
  deferAccept: [6, 9],
  userTimeout: [6, 18],
} as const satisfies Record<string, readonly [level: number, option: number]>;

/** Name of an option of {@link socketOptions}. */
export type SocketOptionName = keyof typeof socketOptions;

/** C names of the options, for errors. */
export const socketOptionSpelling: Record<SocketOptionName, string> = {
  reuseAddress: 'SO_REUSEADDR',
  error: 'SO_ERROR',
  keepAlive: 'SO_KEEPALIVE',
  sendBuffer: 'SO_SNDBUF',
  receiveBuffer: 'SO_RCVBUF',
  reusePort: 'SO_REUSEPORT',
  mark: 'SO_MARK',
  cookie: 'SO_COOKIE',
  namespaceCookie: 'SO_NETNS_COOKIE',
  transparent4: 'IP_TRANSPARENT',
  freebind4: 'IP_FREEBIND',
  bindAddressNoPort: 'IP_BIND_ADDRESS_NO_PORT',
  receiveOriginalDestination4: 'IP_RECVORIGDSTADDR',
  ipv6Only: 'IPV6_V6ONLY',
  transparent6: 'IPV6_TRANSPARENT',
  freebind6: 'IPV6_FREEBIND',
  receiveOriginalDestination6: 'IPV6_RECVORIGDSTADDR',
  noDelay: 'TCP_NODELAY',
  keepAliveIdle: 'TCP_KEEPIDLE',
  keepAliveInterval: 'TCP_KEEPINTVL',
  keepAliveCount: 'TCP_KEEPCNT',
  deferAccept: 'TCP_DEFER_ACCEPT',
  userTimeout: 'TCP_USER_TIMEOUT',
};

/** An address of a socket. IPv4-mapped IPv6 is reported as IPv4. */
type SocketAddress = NativeSocketAddress;

/** Returns the local address (`getsockname`). @throws SystemCallError `KMESH_SOCKET_FAILED` */
export function socketLocalAddress(fd: number): SocketAddress {
  return addressOr(addon().socketName(descriptor('fd', fd), false), fd, 'local address', 'getsockname');
}

/**
 * Returns the peer address (`getpeername`). @throws SystemCallError `KMESH_SOCKET_FAILED`, errno `ENOTCONN` if there is
 * none.
 */
export function socketPeerAddress(fd: number): SocketAddress {
  return addressOr(addon().socketName(descriptor('fd', fd), true), fd, 'peer address', 'getpeername');
}

/** Returns the socket's cookie, as `bpf_get_socket_cookie` does. @throws SystemCallError `KMESH_SOCKET_FAILED` */
export function socketCookie(fd: number): bigint {
  return BigInt.asUintN(64, read(fd, 'cookie'));
}

/** Reads an integer option. @throws SystemCallError `KMESH_SOCKET_FAILED` */
export function getSocketOption(fd: number, name: SocketOptionName): number {
  return Number(read(fd, name));
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
