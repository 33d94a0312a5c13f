import { EventEmitter } from 'node:events';
import { unlinkSync } from 'node:fs';
import { addon } from './addon.ts';
import { DescriptorWatcher } from './descriptors.ts';
import { alreadyClosed, checkResult, descriptor, integerIn, pathOf, systemCallError } from './errors.ts';

const EAGAIN = 11;
const longestSocketPath = 107;

/** One received packet. */
export interface SeqpacketMessage {
  /** A copy, owned by the receiver. */
  readonly bytes: Uint8Array;
  /** Passed descriptors, close-on-exec; the receiver must close each. */
  readonly descriptors: number[];
  /** Whether the packet was longer than `maxPacketSize`; the rest is lost. */
  readonly truncated: boolean;
  /** Whether more than `maxDescriptors` descriptors arrived; the excess is closed. */
  readonly descriptorsTruncated: boolean;
}

/** Limits of a connection. */
export interface SeqpacketOptions {
  /** Bytes; default 65,536. */
  readonly maxPacketSize?: number;
  /** Descriptors of one packet; default 16, at most 253 (SCM_MAX_FD). */
  readonly maxDescriptors?: number;
}

interface SocketEvents {
  message: [message: SeqpacketMessage];
  error: [error: Error];
  close: [];
}

interface Outgoing {
  readonly bytes: Uint8Array;
  readonly descriptors: Int32Array;
  readonly resolve: () => void;
  readonly reject: (error: Error) => void;
}

/**
 * A SOCK_SEQPACKET connection. `message` events start with the first listener, on the next turn of the loop; `close` is
 * emitted exactly once: after the peer's end, an error (`error` before it) or {@link SeqpacketSocket.close}.
 */
export class SeqpacketSocket extends EventEmitter<SocketEvents> implements Disposable {
  readonly #fd: number;
  readonly #watcher: DescriptorWatcher;
  readonly #buffer: Uint8Array;
  readonly #descriptors: Int32Array;
  readonly #queue: Outgoing[] = [];
  #paused = true;
  #closed = false;

  /**
   * Takes ownership of a connected, non-blocking descriptor; see {@link connectSeqpacket} and {@link SeqpacketServer}.
   */
  constructor(fd: number, options: SeqpacketOptions = {}) {
    super();
    this.#buffer = new Uint8Array(integerIn('maxPacketSize', options.maxPacketSize ?? 65_536, 1, 1 << 24));
    this.#descriptors = new Int32Array(integerIn('maxDescriptors', options.maxDescriptors ?? 16, 0, 253));
    this.#fd = fd;
    addon().ownDescriptor(fd);
    this.#watcher = new DescriptorWatcher(fd, (ready) => {
      if (ready.readable && !this.#paused) this.#receive();
      if (ready.writable && !this.#closed) this.#flush();
    });
    this.on('newListener', (event) => {
      if (event === 'message' && this.#paused) this.resume();
    });
  }

  get closed(): boolean {
    return this.#closed;
  }

  /** Packets in the send queue. */
  get queued(): number {
    return this.#queue.length;
  }

  /**
   * Sends one packet with copies of `descriptors`. Resolves when the kernel has accepted the packet; the descriptors
   * must stay open until then. Await it for backpressure.
   *
   * @throws SystemCallError `KMESH_SEQPACKET_FAILED`, KmeshError `KMESH_CLOSED`
   */
  send(bytes: Uint8Array, descriptors: readonly number[] = []): Promise<void> {
    if (this.#closed) return Promise.reject(alreadyClosed('the packet socket'));
    for (const fd of descriptors) descriptor('descriptors', fd);
    integerIn('the number of descriptors', descriptors.length, 0, 253);
    return new Promise((resolve, reject) => {
      this.#queue.push({ bytes, descriptors: Int32Array.from(descriptors), resolve, reject });
      if (this.#queue.length === 1) this.#flush();
    });
  }

  /** Stops `message` events; the peer's sends block when the socket buffer is full. */
  pause(): void {
    this.#paused = true;
    this.#updateInterest();
  }

  resume(): void {
    this.#paused = false;
    this.#updateInterest();
  }

  /** Sets whether the connection keeps the process alive (default: yes). */
  reference(keepAlive: boolean): this {
    this.#watcher.reference(keepAlive);
    return this;
  }

  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#watcher.close();
    addon().closeDescriptor(this.#fd);
    for (const outgoing of this.#queue.splice(0)) outgoing.reject(alreadyClosed('the packet socket'));
    queueMicrotask(() => this.emit('close'));
  }

  [Symbol.dispose](): void {
    this.close();
  }

  #receive(): void {
    // Bounded per turn, so that one busy peer does not starve the loop.
    for (let turn = 0; turn < 16 && !this.#closed && !this.#paused; turn += 1) {
      const got = addon().seqpacketReceive(this.#fd, this.#buffer, this.#descriptors);
      if (got === -EAGAIN) return;
      if (typeof got === 'number') {
        this.#fail(-got, 'recvmsg');
        return;
      }
      // An empty read is the peer's end; the kernel reports an empty packet the same way.
      if (got.length === 0 && got.descriptors === 0) {
        this.close();
        return;
      }
      this.emit('message', {
        bytes: this.#buffer.slice(0, got.length),
        descriptors: [...this.#descriptors.subarray(0, got.descriptors)],
        truncated: got.truncated,
        descriptorsTruncated: got.descriptorsTruncated,
      });
    }
  }

  #flush(): void {
    for (let next = this.#queue[0]; next !== undefined; next = this.#queue[0]) {
      const sent = addon().seqpacketSend(this.#fd, next.bytes, next.descriptors);
      if (sent === -EAGAIN) break;
      this.#queue.shift();
      if (sent < 0)
        next.reject(systemCallError(-sent, 'KMESH_SEQPACKET_FAILED', 'cannot send a packet', 'sendmsg'));
      else next.resolve();
    }
    this.#updateInterest();
  }

  #updateInterest(): void {
    if (!this.#closed) this.#watcher.watch({ readable: !this.#paused, writable: this.#queue.length > 0 });
  }

  #fail(errno: number, syscall: string): void {
    const error = systemCallError(errno, 'KMESH_SEQPACKET_FAILED', 'the packet connection failed', syscall);
    this.close();
    if (this.listenerCount('error') > 0) this.emit('error', error);
  }
}

interface ServerEvents {
  connection: [socket: SeqpacketSocket];
  error: [error: Error];
  close: [];
}

/** A listening SOCK_SEQPACKET socket; its `connection` events carry {@link SeqpacketSocket}s. */
export class SeqpacketServer extends EventEmitter<ServerEvents> implements Disposable {
  readonly path: string;
  readonly #fd: number;
  readonly #watcher: DescriptorWatcher;
  readonly #options: SeqpacketOptions;
  #closed = false;

  /** Use {@link listenSeqpacket}. */
  constructor(fd: number, path: string, options: SeqpacketOptions) {
    super();
    this.#fd = fd;
    this.path = path;
    this.#options = options;
    addon().ownDescriptor(fd);
    this.#watcher = new DescriptorWatcher(fd, () => this.#accept());
    this.#watcher.watch({ readable: true, writable: false });
  }

  reference(keepAlive: boolean): this {
    this.#watcher.reference(keepAlive);
    return this;
  }

  /** Stops listening and removes the socket file; connections stay. */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#watcher.close();
    addon().closeDescriptor(this.#fd);
    try {
      unlinkSync(this.path);
    } catch {
      // Already removed.
    }
    queueMicrotask(() => this.emit('close'));
  }

  [Symbol.dispose](): void {
    this.close();
  }

  #accept(): void {
    while (!this.#closed) {
      const fd = addon().seqpacketAccept(this.#fd);
      if (fd === -EAGAIN) return;
      if (fd < 0) {
        const error = systemCallError(
          -fd,
          'KMESH_SEQPACKET_FAILED',
          `cannot accept on ${this.path}`,
          'accept4',
        );
        if (this.listenerCount('error') > 0) this.emit('error', error);
        return;
      }
      this.emit('connection', new SeqpacketSocket(fd, this.#options));
    }
  }
}

/** Connects to a SOCK_SEQPACKET socket by path. @throws SystemCallError `KMESH_SEQPACKET_FAILED` */
export function connectSeqpacket(path: string, options: SeqpacketOptions = {}): SeqpacketSocket {
  const fd = addon().seqpacketConnect(pathOf('path', path, longestSocketPath));
  return new SeqpacketSocket(
    checkResult(fd, 'KMESH_SEQPACKET_FAILED', `cannot connect to ${path}`, 'connect'),
    options,
  );
}

/**
 * Listens on a SOCK_SEQPACKET socket at a path that must not exist yet. @throws SystemCallError
 * `KMESH_SEQPACKET_FAILED`
 */
export function listenSeqpacket(
  path: string,
  options: SeqpacketOptions & { backlog?: number } = {},
): SeqpacketServer {
  const backlog = integerIn('backlog', options.backlog ?? 128, 1, 65535);
  const fd = addon().seqpacketListen(pathOf('path', path, longestSocketPath), backlog);
  checkResult(fd, 'KMESH_SEQPACKET_FAILED', `cannot listen on ${path}`, 'bind');
  return new SeqpacketServer(fd, path, options);
}
