import { isIP, isIPv4 } from 'node:net';
import { addon } from './addon.ts';
import { watchOnce } from './descriptors.ts';
import {
  checkResult,
  descriptor,
  integerIn,
  invalidArgument,
  SystemCallError,
  systemCallError,
} from './errors.ts';
import type { NetworkNamespace } from './network-namespace.ts';
import { type SocketOptionName, socketOptionSpelling, socketOptions } from './socket-options.ts';

/** TCP keepalive: seconds before the first probe, seconds between probes, and unanswered probes allowed. */
interface KeepAliveOptions {
  readonly time: number;
  readonly interval: number;
  readonly retries: number;
}

/** Options of every socket that this package opens. */
interface SocketOptions {
  /** Namespace of the socket; default: the process's. */
  readonly namespace?: NetworkNamespace;
  /** Packet mark (SO_MARK), 0 to 2^32-1. */
  readonly mark?: number;
  /** Bind to and accept for addresses that are not local. */
  readonly transparent?: boolean;
  /** Bind to an address that does not exist (yet). */
  readonly freebind?: boolean;
  readonly reuseAddress?: boolean;
  readonly reusePort?: boolean;
  /** Chooses the port of a bound source address at connect, which avoids port exhaustion. */
  readonly bindAddressNoPort?: boolean;
  /** IPv6 sockets: refuse IPv4-mapped peers. Default false: an IPv6 socket serves both families. */
  readonly ipv6Only?: boolean;
  readonly sendBuffer?: number;
  readonly receiveBuffer?: number;
}

/** Options of TCP sockets. */
interface TcpOptions extends SocketOptions {
  readonly keepAlive?: KeepAliveOptions;
  /** Milliseconds that sent data may stay unacknowledged (TCP_USER_TIMEOUT). */
  readonly userTimeout?: number;
  readonly noDelay?: boolean;
}

/** Options of a listener. */
interface ListenerOptions extends TcpOptions {
  /** An IP address, such as `0.0.0.0`, `::` or `127.0.0.1`. */
  readonly address: string;
  /** 0 lets the kernel choose; see `socketLocalAddress`. */
  readonly port: number;
  /** Accept backlog; default 1024. */
  readonly backlog?: number;
}

/** Options of {@link connectSocket}. */
interface ConnectOptions extends TcpOptions {
  readonly address: string;
  readonly port: number;
  /** Source address, and with {@link SocketOptions.transparent} not necessarily a local one. */
  readonly bindAddress?: string;
  readonly bindPort?: number;
  /** Milliseconds until connecting fails with `ETIMEDOUT`; default: the kernel's limit. */
  readonly timeout?: number;
  readonly signal?: AbortSignal;
}

/** Options of a UDP socket. */
interface UdpSocketOptions extends SocketOptions {
  readonly address: string;
  readonly port: number;
  /** Report the original destination of redirected datagrams as control messages. */
  readonly receiveOriginalDestination?: boolean;
}

const stream = 1;
const datagram = 2;
const actions = { none: 0, listen: 1, connect: 2 } as const;

/**
 * Opens a listening TCP socket and returns its descriptor, non-blocking and close-on-exec, owned by the caller. For
 * Node:
 *
 * ```ts
 * const fd = openListener({ namespace, address: '::', port: 15001, transparent: true });
 * net.createServer({ allowHalfOpen: true, pauseOnConnect: true }, onConnection).listen({ fd });
 * ```
 *
 * The server closes the descriptor.
 *
 * @throws SystemCallError `KMESH_SOCKET_FAILED`
 */
export function openListener(options: ListenerOptions): number {
  const family = familyOf('address', options.address);
  const request = new SocketRequest(
    `cannot listen on ${endpoint(options.address, options.port)}`,
    family,
    stream,
  );
  request.addTcpOptions(options);
  request.bind(options.address, options.port);
  return request.open(
    options.namespace,
    actions.listen,
    integerIn('backlog', options.backlog ?? 1024, 1, 65535),
  );
}

/**
 * Migrates connections in the SYN queue and the accept backlog to another listener of the same port (`reusePort`) when
 * this one closes; otherwise the kernel resets them. Applies to all listeners that share the port. Requires CAP_BPF.
 *
 * @throws SystemCallError `KMESH_SOCKET_FAILED`
 */
export function migrateOnClose(fd: number): void {
  const result = addon().reuseportMigrate(descriptor('fd', fd));
  const message = `cannot enable migration of connections of listener ${fd}`;
  checkResult(result, 'KMESH_SOCKET_FAILED', message, 'setsockopt(SO_ATTACH_REUSEPORT_EBPF)');
}

/**
 * Connects a TCP socket without blocking and returns its descriptor, owned by the caller. For Node:
 *
 * ```ts
 * const socket = new net.Socket({ fd, readable: true, writable: true, allowHalfOpen: true });
 * ```
 *
 * Pass `readable` and `writable`: without them Node leaves the stream inert.
 *
 * @throws SystemCallError `KMESH_SOCKET_FAILED`, with the errno of the failed connection, `ETIMEDOUT` after `timeout`;
 * the signal's reason when aborted.
 */
export async function connectSocket(options: ConnectOptions): Promise<number> {
  options.signal?.throwIfAborted();
  const family = familyOf('address', options.address);
  const message = `cannot connect to ${endpoint(options.address, options.port)}`;
  const request = new SocketRequest(message, family, stream);
  request.addTcpOptions(options);
  if (options.bindAddress !== undefined || options.bindPort !== undefined) {
    const address = options.bindAddress ?? (family === 6 ? '::' : '0.0.0.0');
    if (familyOf('bindAddress', address) !== family) {
      throw invalidArgument('bindAddress', address, `of the same family as ${options.address}`);
    }
    request.bind(address, options.bindPort ?? 0);
  }
  request.connect(options.address, options.port);
  const fd = request.open(options.namespace, actions.connect, 0);
  try {
    await watchOnce(fd, 'writable', options.timeout, options.signal);
    const error = Number(addon().socketGetInteger(fd, ...socketOptions.error));
    if (error !== 0) throw systemCallError(Math.abs(error), 'KMESH_SOCKET_FAILED', message, 'connect');
    return fd;
  } catch (error) {
    addon().closeDescriptor(fd);
    if (error instanceof SystemCallError && error.syscall === 'poll') {
      throw systemCallError(error.errno, 'KMESH_SOCKET_FAILED', message, 'connect');
    }
    throw error;
  }
}

/**
 * Opens a bound UDP socket and returns its descriptor, owned by the caller. For Node's `dgram`: `socket.bind({ fd })`.
 *
 * @throws SystemCallError `KMESH_SOCKET_FAILED`
 */
export function openUdpSocket(options: UdpSocketOptions): number {
  const family = familyOf('address', options.address);
  const message = `cannot bind UDP ${endpoint(options.address, options.port)}`;
  const request = new SocketRequest(message, family, datagram);
  request.addOptions(options);
  if (options.receiveOriginalDestination === true) {
    request.add('receiveOriginalDestination4', 1);
    if (family === 6) request.add('receiveOriginalDestination6', 1);
  }
  request.bind(options.address, options.port);
  return request.open(options.namespace, actions.none, 0);
}

/** Collects a socket's options, then opens it in one native call, so that the namespace is entered only once. */
class SocketRequest {
  readonly #message: string;
  readonly #family: 4 | 6;
  readonly #type: number;
  readonly #names: SocketOptionName[] = [];
  readonly #values: number[] = [];
  #bind: { address: string; port: number } | undefined;
  #connect: { address: string; port: number } | undefined;

  constructor(message: string, family: 4 | 6, type: number) {
    this.#message = message;
    this.#family = family;
    this.#type = type;
  }

  add(name: SocketOptionName, value: number): void {
    const [level, option] = socketOptions[name];
    this.#names.push(name);
    this.#values.push(level, option, value | 0);
  }

  addOptions(options: SocketOptions): void {
    const six = this.#family === 6;
    if (options.mark !== undefined) this.add('mark', integerIn('mark', options.mark, 0, 0xffff_ffff));
    if (options.transparent === true) this.add(six ? 'transparent6' : 'transparent4', 1);
    if (options.freebind === true) this.add(six ? 'freebind6' : 'freebind4', 1);
    if (options.reuseAddress === true) this.add('reuseAddress', 1);
    if (options.reusePort === true) this.add('reusePort', 1);
    if (options.bindAddressNoPort === true) this.add('bindAddressNoPort', 1);
    if (six) this.add('ipv6Only', options.ipv6Only === true ? 1 : 0);
    if (options.sendBuffer !== undefined) this.#addPositive('sendBuffer', options.sendBuffer);
    if (options.receiveBuffer !== undefined) this.#addPositive('receiveBuffer', options.receiveBuffer);
  }

  addTcpOptions(options: TcpOptions): void {
    this.addOptions(options);
    if (options.keepAlive !== undefined) {
      this.add('keepAlive', 1);
      this.#addPositive('keepAliveIdle', options.keepAlive.time, 32767);
      this.#addPositive('keepAliveInterval', options.keepAlive.interval, 32767);
      this.#addPositive('keepAliveCount', options.keepAlive.retries, 127);
    }
    if (options.userTimeout !== undefined) this.#addPositive('userTimeout', options.userTimeout);
    if (options.noDelay === true) this.add('noDelay', 1);
  }

  bind(address: string, port: number): void {
    this.#bind = { address, port: integerIn('port', port, 0, 65535) };
  }

  connect(address: string, port: number): void {
    this.#connect = { address, port: integerIn('port', port, 1, 65535) };
  }

  open(namespace: NetworkNamespace | undefined, action: number, backlog: number): number {
    const native = addon();
    const fd = native.socketOpen(
      namespace?.fd ?? -1,
      this.#family,
      this.#type,
      0,
      Int32Array.from(this.#values),
      this.#bind?.address,
      this.#bind?.port ?? 0,
      action,
      backlog,
      this.#connect?.address,
      this.#connect?.port ?? 0,
    );
    if (fd >= 0) return fd;
    const where = namespace === undefined ? '' : ` in network namespace ${namespace.label}`;
    throw systemCallError(
      -fd,
      'KMESH_SOCKET_FAILED',
      `${this.#message}${where}`,
      this.#failedCall(native.socketFailedStep()),
    );
  }

  #addPositive(name: SocketOptionName, value: number, maximum = 0x7fff_ffff): void {
    this.add(name, integerIn(name, value, 1, maximum));
  }

  #failedCall(step: number): string {
    const option = this.#names[step];
    if (option !== undefined) return `setsockopt(${socketOptionSpelling[option]})`;
    return ['socket', 'bind', 'listen', 'connect', 'setns', 'inet_pton'][-step - 1] ?? 'socket';
  }
}

function familyOf(name: string, address: string): 4 | 6 {
  if (typeof address !== 'string' || isIP(address) === 0)
    throw invalidArgument(name, address, 'an IP address');
  return isIPv4(address) ? 4 : 6;
}

function endpoint(address: string, port: number): string {
  return address.includes(':') ? `[${address}]:${port}` : `${address}:${port}`;
}
