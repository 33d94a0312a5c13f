import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { type AddressInfo, connect, createServer, type Server, type Socket } from 'node:net';

interface Pair {
  readonly client: Socket;
  readonly upstream: Socket;
  sentToClient: number;
}

const dripIntervalMilliseconds = 20;

/**
 * The TCP listener in front of the real server. Forwards bytes, and injects faults below gRPC that a server library
 * cannot produce.
 */
export class TransportFront {
  readonly #host: string;
  #port: number;
  #target: number;
  #server: Server | undefined;
  readonly #pairs = new Set<Pair>();
  readonly #sockets = new Set<Socket>();
  #frozen = false;
  #garbage = false;
  #dripBytesPerSecond = 0;
  #cutAfterBytes: number | undefined;
  /** Connections accepted so far. */
  accepted = 0;

  constructor(options: { readonly host: string; readonly port: number; readonly target: number }) {
    this.#host = options.host;
    this.#port = options.port;
    this.#target = options.target;
  }

  get port(): number {
    return this.#port;
  }

  /** Open connections. */
  get connections(): number {
    return this.#sockets.size;
  }

  /** Listens; when reopened, on the same port as before. */
  async open(): Promise<void> {
    if (this.#server !== undefined) return;
    const server = createServer({ noDelay: true }, (client) => this.#accept(client));
    this.#server = server;
    server.listen(this.#port, this.#host);
    await once(server, 'listening');
    this.#port = (server.address() as AddressInfo).port;
  }

  /** Refuses new connections and cuts the open ones. */
  async close(): Promise<void> {
    const server = this.#server;
    this.#server = undefined;
    this.drop();
    if (server === undefined) return;
    server.close();
    await once(server, 'close');
  }

  /** Sets the target port of new connections. */
  retarget(port: number): void {
    this.#target = port;
  }

  /** Resets the open connections. */
  drop(): void {
    for (const socket of this.#sockets) {
      // Resetting a socket that is shutting down fails, and Node.js then waits forever for its end at exit.
      if (socket.writableEnded) socket.destroy();
      else socket.resetAndDestroy();
    }
  }

  /** While frozen no byte moves in either direction; connections stay open and new ones are accepted. */
  freeze(frozen: boolean): void {
    this.#frozen = frozen;
    for (const pair of this.#pairs) {
      if (frozen) {
        pair.client.pause();
        pair.upstream.pause();
      } else {
        pair.client.resume();
        pair.upstream.resume();
      }
    }
  }

  /** Limits what the server sends; 0 lifts the limit. */
  drip(bytesPerSecond: number): void {
    this.#dripBytesPerSecond = bytesPerSecond;
  }

  /** Cuts the first connection on which the server has sent this many more bytes. */
  cutAfter(bytes: number | undefined): void {
    this.#cutAfterBytes = bytes;
    for (const pair of this.#pairs) pair.sentToClient = 0;
  }

  /** Answers new connections with random bytes instead of forwarding them. */
  answerGarbage(on: boolean): void {
    this.#garbage = on;
  }

  #accept(client: Socket): void {
    this.accepted += 1;
    this.#track(client);
    if (this.#garbage) {
      client.end(randomBytes(4096));
      client.resume();
      return;
    }
    const upstream = connect({ port: this.#target, host: '127.0.0.1', noDelay: true });
    this.#track(upstream);
    const pair: Pair = { client, upstream, sentToClient: 0 };
    this.#pairs.add(pair);
    client.on('data', (bytes: Buffer) => this.#forward(client, upstream, bytes));
    upstream.on('data', (bytes: Buffer) => this.#toClient(pair, bytes));
    for (const [one, other] of [
      [client, upstream],
      [upstream, client],
    ] as const) {
      one.on('end', () => other.end());
      one.on('close', () => {
        this.#pairs.delete(pair);
        other.destroy();
      });
    }
    if (this.#frozen) {
      client.pause();
      upstream.pause();
    }
  }

  #track(socket: Socket): void {
    this.#sockets.add(socket);
    socket.on('close', () => this.#sockets.delete(socket));
    socket.on('error', () => socket.destroy());
  }

  #forward(from: Socket, to: Socket, bytes: Buffer): void {
    if (to.write(bytes)) return;
    from.pause();
    to.once('drain', () => {
      if (!this.#frozen) from.resume();
    });
  }

  #toClient(pair: Pair, bytes: Buffer): void {
    const limit = this.#cutAfterBytes;
    if (limit !== undefined && pair.sentToClient + bytes.length > limit) {
      this.#cutAfterBytes = undefined;
      pair.upstream.pause();
      // What fits is sent and flushed first, so that the client really holds half a message.
      pair.client.write(bytes.subarray(0, Math.max(0, limit - pair.sentToClient)), () =>
        pair.client.destroy(),
      );
      return;
    }
    pair.sentToClient += bytes.length;
    if (this.#dripBytesPerSecond === 0) this.#forward(pair.upstream, pair.client, bytes);
    else this.#dripOut(pair, bytes);
  }

  #dripOut(pair: Pair, bytes: Buffer): void {
    pair.upstream.pause();
    let rest = bytes;
    const step = (): void => {
      const share = Math.ceil((this.#dripBytesPerSecond * dripIntervalMilliseconds) / 1000);
      const size = this.#dripBytesPerSecond === 0 ? rest.length : Math.min(share, rest.length);
      if (pair.client.destroyed) return;
      if (!this.#frozen) {
        pair.client.write(rest.subarray(0, size));
        rest = rest.subarray(size);
      }
      if (rest.length > 0) setTimeout(step, dripIntervalMilliseconds).unref();
      else pair.upstream.resume();
    };
    step();
  }
}
