import { subscribe } from 'node:diagnostics_channel';
import type { ClientHttp2Stream } from 'node:http2';
import { isMarkedAsUntransferable } from 'node:worker_threads';

/** Messages of this length are worth the work of freeing them early. */
export const longBytes = 1024 * 1024;
/** Compression flag and length. */
const frameHeaderBytes = 5;

/**
 * Frees the parts of long messages of the streams to `path` once the gRPC library has joined them: it holds them until
 * the next message begins, which may be hours later. Such a stream must have a connection of its own, since streams of
 * one connection share the memory of what is read from it.
 */
export function freePartsOfMessages(path: string): void {
  subscribe('http2.client.stream.created', (created) => {
    const { stream, headers } = created as { stream: ClientHttp2Stream; headers: Record<string, unknown> };
    if (headers[':path'] !== path) return;
    // By then the library listens too, and sees each part first: a whole message has been joined.
    stream.once('response', () => {
      const parts = new MessageParts();
      stream.on('data', (part: Buffer) => parts.add(part));
    });
  });
}

/** The memory of the message that is being received. */
class MessageParts {
  readonly #header = Buffer.alloc(frameHeaderBytes);
  #headerRead = 0;
  /** Bytes of the message that are still to come. */
  #missing = 0;
  #length = 0;
  /** In the order of the bytes. */
  #memory: ArrayBuffer[] = [];

  /** Follows the boundaries of messages; at the end of a long one, frees its parts except the one that is being read. */
  add(part: Buffer): void {
    const memory = part.buffer as ArrayBuffer;
    if (this.#memory.at(-1) !== memory) this.#memory.push(memory);
    for (let at = 0; at < part.length; ) {
      if (this.#missing === 0) {
        const copied = part.copy(this.#header, this.#headerRead, at);
        at += copied;
        this.#headerRead += copied;
        if (this.#headerRead < frameHeaderBytes) return;
        this.#headerRead = 0;
        this.#length = this.#header.readUInt32BE(1);
        this.#missing = this.#length;
      } else {
        const read = Math.min(this.#missing, part.length - at);
        at += read;
        this.#missing -= read;
      }
      if (this.#missing === 0) this.#messageEnds(memory);
    }
  }

  #messageEnds(current: ArrayBuffer): void {
    if (this.#length >= longBytes) {
      for (const memory of this.#memory) {
        // Never Node's pool, which others use too.
        if (memory !== current && !isMarkedAsUntransferable(memory)) memory.transfer(0);
      }
    }
    this.#memory = [current];
  }
}
