import type { Socket } from 'node:net';
import type { TLSSocket } from 'node:tls';

/** Frame types and error codes of HTTP/2 (RFC 9113) for peers that violate or stress the protocol. */
const frameType = {
  data: 0,
  headers: 1,
  reset: 3,
  settings: 4,
  ping: 6,
  goaway: 7,
  window: 8,
} as const;
export const http2Code = {
  noError: 0,
  internalError: 2,
  refusedStream: 7,
  cancel: 8,
  connectError: 10,
} as const;

const PREFACE = Buffer.from('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n');
const END_STREAM = 1;
const ACK = 1;
const END_HEADERS = 4;
const INITIAL_WINDOW = 65_535;
const LARGEST_DATA = 16_384;

export interface FrameOptions {
  /** Side of the connection. */
  readonly role: 'client' | 'server';
  /** SETTINGS_INITIAL_WINDOW_SIZE for what the other end sends; 4 MiB by default. */
  readonly window?: number;
  /** Whether to return received bytes to the windows immediately; `true` by default. */
  readonly giveBack?: boolean;
}

/** One stream of a {@link FrameConnection}, with the peer's actions on it. */
export class FrameStream {
  readonly id: number;
  readonly connection: FrameConnection;
  /** Received data. */
  readonly chunks: Buffer[] = [];
  /** Received events, in order: `headers`, `data`, `end`, `reset <code>`. */
  readonly events: string[] = [];
  window: number;
  readonly #waiting: (() => void)[] = [];

  constructor(connection: FrameConnection, id: number, window: number) {
    this.connection = connection;
    this.id = id;
    this.window = window;
  }

  get received(): Buffer {
    return Buffer.concat(this.chunks);
  }

  /** Resolves once `condition` holds; rejects when it does not within `milliseconds`. */
  async until(condition: () => boolean, milliseconds = 5_000): Promise<void> {
    const limit = performance.now() + milliseconds;
    while (!condition()) {
      if (performance.now() > limit) throw new Error(`stream ${this.id} saw only ${this.events.join(', ')}`);
      await new Promise<void>((resolve) => {
        this.#waiting.push(resolve);
        setTimeout(resolve, 20);
      });
    }
  }

  /** Writes response headers with a status, or 200. */
  respond(status = 200, endStream = false): void {
    const text = Buffer.from(String(status));
    const block = status === 200 ? Buffer.from([0x88]) : Buffer.concat([Buffer.from([8, text.length]), text]);
    this.connection.frame(frameType.headers, END_HEADERS | (endStream ? END_STREAM : 0), this.id, block);
  }

  /** Writes all bytes as the windows allow, the last frame with END_STREAM if `endStream` is set. */
  async send(bytes: Buffer, endStream = false): Promise<void> {
    let at = 0;
    while (at < bytes.length) {
      const { connection } = this;
      const room = Math.min(LARGEST_DATA, this.window, connection.window, bytes.length - at);
      if (room <= 0) {
        if (connection.closed || this.events.some((event) => event.startsWith('reset'))) return;
        await new Promise<void>((resolve) => {
          this.#waiting.push(resolve);
          setTimeout(resolve, 20);
        });
        continue;
      }
      this.window -= room;
      connection.window -= room;
      const last = endStream && at + room === bytes.length;
      connection.frame(frameType.data, last ? END_STREAM : 0, this.id, bytes.subarray(at, at + room));
      at += room;
    }
    if (endStream && bytes.length === 0) this.connection.frame(frameType.data, END_STREAM, this.id);
  }

  reset(code: number): void {
    this.connection.frame(frameType.reset, 0, this.id, number32(code));
  }

  wake(): void {
    for (const resolve of this.#waiting.splice(0)) resolve();
  }
}

/**
 * HTTP/2 at frame level over an established TLS connection: sends frames in any order, including sequences that a
 * library would refuse. Does not decode received header blocks.
 */
export class FrameConnection {
  readonly tls: TLSSocket;
  readonly raw: Socket;
  readonly streams = new Map<number, FrameStream>();
  onStream: (stream: FrameStream) => void = () => undefined;
  window = INITIAL_WINDOW;
  closed = false;
  /** Number of received GOAWAY frames. */
  goaways = 0;
  /** Number of SETTINGS that the other end has acknowledged. */
  acknowledged = 0;
  readonly #options: FrameOptions;
  #streamWindow = INITIAL_WINDOW;
  #input: Buffer = Buffer.alloc(0);
  #prefaceLeft: number;
  #lastStream = -1;

  constructor(tls: TLSSocket, raw: Socket, options: FrameOptions) {
    this.tls = tls;
    this.raw = raw;
    this.#options = options;
    this.#prefaceLeft = options.role === 'server' ? PREFACE.length : 0;
    tls.on('data', (chunk: Buffer) => this.#read(chunk));
    tls.on('error', () => undefined);
    tls.on('close', () => {
      this.closed = true;
      for (const stream of this.streams.values()) stream.wake();
    });
    const window = options.window ?? 4 << 20;
    const entry = Buffer.concat([Buffer.from([0, 4]), number32(window)]);
    const first = frameBytes(frameType.settings, 0, 0, entry);
    this.#write(options.role === 'client' ? Buffer.concat([PREFACE, first]) : first);
    if (options.giveBack !== false) this.frame(frameType.window, 0, 0, number32(16 << 20));
  }

  /** Sends CONNECT, as the client. */
  connect(authority: string): FrameStream {
    this.#lastStream += 2;
    const stream = new FrameStream(this, this.#lastStream, this.#streamWindow);
    this.streams.set(stream.id, stream);
    const block = literals([':method', 'CONNECT'], [':authority', authority]);
    this.frame(frameType.headers, END_HEADERS, stream.id, block);
    return stream;
  }

  frame(type: number, flags: number, stream: number, payload: Buffer = Buffer.alloc(0)): void {
    this.#write(frameBytes(type, flags, stream, payload));
  }

  /** Sends SETTINGS_MAX_CONCURRENT_STREAMS. */
  limit(streams: number): void {
    this.frame(frameType.settings, 0, 0, Buffer.concat([Buffer.from([0, 3]), number32(streams)]));
  }

  goaway(lastStream: number, code: number): void {
    this.frame(frameType.goaway, 0, 0, Buffer.concat([number32(lastStream), number32(code)]));
  }

  /** Ends TLS with close_notify and TCP with FIN. */
  end(): void {
    this.tls.end();
  }

  /** Ends TCP with FIN, without close_notify. */
  cut(): void {
    this.tls.write(Buffer.alloc(0), () => this.raw.end());
  }

  /** Resets TCP. */
  reset(): void {
    this.raw.resetAndDestroy();
  }

  #write(bytes: Buffer): void {
    if (!this.tls.destroyed && this.tls.writable) this.tls.write(bytes);
  }

  #read(chunk: Buffer): void {
    this.#input = this.#input.length === 0 ? chunk : Buffer.concat([this.#input, chunk]);
    const skipped = Math.min(this.#prefaceLeft, this.#input.length);
    this.#prefaceLeft -= skipped;
    let at = skipped;
    while (this.#input.length - at >= 9) {
      const length = this.#input.readUIntBE(at, 3);
      if (this.#input.length - at < 9 + length) break;
      const [type = 0, flags = 0] = this.#input.subarray(at + 3, at + 5);
      const id = this.#input.readUInt32BE(at + 5) & 0x7fffffff;
      this.#got(type, flags, id, this.#input.subarray(at + 9, at + 9 + length));
      at += 9 + length;
    }
    this.#input = this.#input.subarray(at);
  }

  #got(type: number, flags: number, id: number, payload: Buffer): void {
    if (type === frameType.settings) {
      if ((flags & ACK) === 0) this.#gotSettings(payload);
      else this.acknowledged += 1;
    } else if (type === frameType.ping) {
      if ((flags & ACK) === 0) this.frame(frameType.ping, ACK, 0, payload);
    } else if (type === frameType.window) {
      this.#gotWindow(id, payload.readUInt32BE(0));
    } else if (type === frameType.goaway) {
      this.goaways += 1;
    } else if (id !== 0) {
      this.#gotOnStream(type, flags, id, payload);
    }
  }

  #gotSettings(payload: Buffer): void {
    for (let at = 0; at + 6 <= payload.length; at += 6) {
      if (payload.readUInt16BE(at) !== 4) continue;
      const window = payload.readUInt32BE(at + 2);
      for (const stream of this.streams.values()) stream.window += window - this.#streamWindow;
      this.#streamWindow = window;
    }
    this.frame(frameType.settings, ACK, 0);
    for (const stream of this.streams.values()) stream.wake();
  }

  #gotWindow(id: number, more: number): void {
    if (id === 0) this.window += more;
    const stream = this.streams.get(id);
    if (stream !== undefined) stream.window += more;
    for (const waiting of this.streams.values()) waiting.wake();
  }

  #gotOnStream(type: number, flags: number, id: number, payload: Buffer): void {
    const known = this.streams.get(id);
    const stream = known ?? new FrameStream(this, id, this.#streamWindow);
    this.streams.set(id, stream);
    if (type === frameType.headers) stream.events.push('headers');
    if (type === frameType.reset) stream.events.push(`reset ${payload.readUInt32BE(0)}`);
    if (type === frameType.data && payload.length > 0) {
      if (stream.events.at(-1) !== 'data') stream.events.push('data');
      stream.chunks.push(Buffer.from(payload));
      if (this.#options.giveBack !== false) {
        for (const target of [0, id]) this.frame(frameType.window, 0, target, number32(payload.length));
      }
    }
    if ((type === frameType.data || type === frameType.headers) && (flags & END_STREAM) !== 0) {
      stream.events.push('end');
    }
    if (known === undefined) this.onStream(stream);
    stream.wake();
  }
}

/** Returns a big-endian 32-bit number. */
export function number32(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(value);
  return bytes;
}

/** Returns one HTTP/2 frame. */
export function frameBytes(
  type: number,
  flags: number,
  stream: number,
  payload: Buffer = Buffer.alloc(0),
): Buffer {
  const head = Buffer.alloc(9);
  head.writeUIntBE(payload.length, 0, 3);
  head[3] = type;
  head[4] = flags;
  head.writeUInt32BE(stream, 5);
  return Buffer.concat([head, payload]);
}

/** A header block of literals without indexing or compression; names and values under 127 bytes. */
function literals(...fields: readonly (readonly [string, string])[]): Buffer {
  const text = (value: string): Buffer => Buffer.concat([Buffer.from([value.length]), Buffer.from(value)]);
  return Buffer.concat(fields.flatMap(([name, value]) => [Buffer.from([0]), text(name), text(value)]));
}
