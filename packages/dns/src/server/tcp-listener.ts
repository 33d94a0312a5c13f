import { createServer, type Server, type Socket } from 'node:net';
import { maximumTcpBytes } from '../wire/answer.ts';
import type { Answerer } from './udp-listener.ts';

/** Idle timeout of a connection (contract 12). */
const idleMilliseconds = 5_000;
/** Limit of connections per pod; the oldest one is closed for a new one. */
const maximumConnections = 128;
/** Limit of pending queries per connection; beyond it, reading stops (backpressure). */
const maximumPending = 32;
/** Limit of unsent answers to a client that does not read. */
const maximumUnsentBytes = 262_144;

/** Shared by all connections: an answer is copied out at once. */
const written = Buffer.alloc(maximumTcpBytes + 2);

/** Serves DNS over TCP on a listening socket, which it owns. */
export class TcpListener {
  readonly #answer: Answerer;
  readonly #server: Server;
  readonly #connections = new Set<Socket>();

  constructor(fd: number, answer: Answerer) {
    this.#answer = answer;
    // A client may end its side after its queries; forwarded ones are answered later.
    this.#server = createServer({ allowHalfOpen: true }, (socket) => this.#serve(socket));
    this.#server.on('error', () => undefined);
    this.#server.listen({ fd });
  }

  /** Stops accepting; open connections end when they are idle. */
  drain(): void {
    this.#server.close();
  }

  close(): void {
    this.#server.close();
    for (const socket of this.#connections) socket.destroy();
  }

  #serve(socket: Socket): void {
    if (this.#connections.size >= maximumConnections) {
      const [oldest] = this.#connections;
      oldest?.destroy();
      if (oldest !== undefined) this.#connections.delete(oldest);
    }
    this.#connections.add(socket);
    socket.setTimeout(idleMilliseconds, () => socket.destroy());
    socket.on('error', () => socket.destroy());
    socket.on('close', () => this.#connections.delete(socket));
    let held: Buffer = Buffer.alloc(0);
    let pending = 0;
    let ended = false;
    const endAnswered = (): void => {
      if (ended && pending === 0) socket.end();
    };
    const take = (): void => {
      while (held.length >= 2 && !socket.destroyed) {
        const length = held.readUInt16BE(0);
        if (held.length < length + 2) break;
        if (pending >= maximumPending) {
          socket.pause();
          return;
        }
        const message = held.subarray(2, length + 2);
        held = held.subarray(length + 2);
        const size = this.#answer(message, written, 2, () => {
          pending++;
          return (answer) => {
            pending--;
            if (socket.destroyed) return;
            const framed = Buffer.allocUnsafe(answer.length + 2);
            framed.set(answer, 2);
            send(socket, framed, answer.length);
            socket.resume();
            take();
            endAnswered();
          };
        });
        if (size > 0) send(socket, Buffer.from(written.subarray(0, size + 2)), size);
        // Unanswerable: not a DNS client.
        if (size === 0) socket.destroy();
      }
    };
    socket.on('data', (chunk: Buffer) => {
      held = held.length === 0 ? chunk : Buffer.concat([held, chunk]);
      take();
    });
    socket.on('end', () => {
      ended = true;
      endAnswered();
    });
  }
}

function send(socket: Socket, framed: Buffer, length: number): void {
  if (socket.writableLength > maximumUnsentBytes) {
    socket.destroy();
    return;
  }
  framed.writeUInt16BE(length, 0);
  socket.write(framed);
}
