import { StreamDecoder } from '@grpc/grpc-js/build/src/stream-decoder.js';

/**
 * Makes @grpc/grpc-js put a long message together while it arrives.
 *
 * The library keeps the pieces of a message and joins them when the last one is there: for a push of 40 MB that stops
 * the event loop for 80 ms and holds the message twice. Here each piece is copied, as it comes, into a buffer of the
 * announced size. The library has no setting for this; the one method is replaced, for the whole process.
 */
export function assembleMessagesOnArrival(): void {
  const assemblers = new WeakMap<object, MessageAssembler>();
  StreamDecoder.prototype.write = function (data) {
    let assembler = assemblers.get(this);
    if (assembler === undefined) {
      const { maxReadMessageLength } = this as unknown as { maxReadMessageLength: number };
      assembler = new MessageAssembler(maxReadMessageLength);
      assemblers.set(this, assembler);
    }
    return assembler.write(data);
  };
}

const headerBytes = 5;

/** Cuts a byte stream into gRPC messages: one byte of flags, four of length, the message. */
export class MessageAssembler {
  readonly #maximumLength: number;
  readonly #header = Buffer.alloc(headerBytes);
  #headerFilled = 0;
  #message: Buffer | undefined;
  #filled = 0;

  /** `maximumLength` in bytes, without the header; -1 is no limit. */
  constructor(maximumLength: number) {
    this.#maximumLength = maximumLength;
  }

  /** The messages that `data` completes, headers included. @throws Error when a message is longer than allowed. */
  write(data: Buffer): Buffer[] {
    const messages: Buffer[] = [];
    for (let at = 0; at < data.length; ) {
      at +=
        this.#message === undefined ? this.#readHeader(data, at) : this.#readBody(this.#message, data, at);
      if (this.#message !== undefined && this.#filled === this.#message.length) {
        messages.push(this.#message);
        this.#message = undefined;
      }
    }
    return messages;
  }

  #readHeader(data: Buffer, at: number): number {
    const copied = data.copy(this.#header, this.#headerFilled, at);
    this.#headerFilled += copied;
    if (this.#headerFilled < headerBytes) return copied;
    const length = this.#header.readUInt32BE(1);
    if (this.#maximumLength !== -1 && length > this.#maximumLength) {
      throw new Error(`Received message larger than max (${length} vs ${this.#maximumLength})`);
    }
    this.#headerFilled = 0;
    // Memory of its own, never of the shared pool: payloads are views of it.
    this.#message = Buffer.allocUnsafeSlow(headerBytes + length);
    this.#filled = this.#header.copy(this.#message);
    return copied;
  }

  #readBody(message: Buffer, data: Buffer, at: number): number {
    const copied = data.copy(message, this.#filled, at);
    this.#filled += copied;
    return copied;
  }
}
