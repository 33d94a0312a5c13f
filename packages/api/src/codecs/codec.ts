import protobuf from 'protobufjs/minimal.js';
import { TextReader } from './text-reader.ts';

// 64-bit fields as plain numbers: the only one in use is a lifetime in seconds, exact in a double.
protobuf.util.Long = null as never;
protobuf.configure();

/** The interface of a generated message class. */
interface GeneratedMessage<Input, Output> {
  encode(message: Input): { finish(): Uint8Array };
  decode(reader: protobuf.Reader): Output;
}

/**
 * Encoder and decoder of one wire message.
 *
 * `encode` takes plain objects; every field is optional. `decode` throws (`Error`, `RangeError`) on malformed bytes,
 * skips unknown fields, keeps unknown enum numbers, and returns `null` for absent sub-messages and `optional` fields.
 */
export interface Codec<Input, Output> {
  encode(message: Input): Buffer;
  decode(bytes: Uint8Array): Output;
  /** As `decode`, with unknown fields of messages at every level in `$unknowns`. */
  decodeKeepingUnknown(bytes: Uint8Array): Output;
}

/** Wraps one generated message class. */
export function codec<Input, Output>(message: GeneratedMessage<Input, Output>): Codec<Input, Output> {
  return {
    encode: (input) => asBuffer(message.encode(input).finish()),
    decode: (bytes) => message.decode(new TextReader(asBuffer(bytes))),
    decodeKeepingUnknown: (bytes) => {
      const reader = new TextReader(asBuffer(bytes));
      reader.discardUnknown = false;
      return message.decode(reader);
    },
  };
}

/** Returns a view, not a copy: byte fields of a decoded message are views of the input. */
function asBuffer(bytes: Uint8Array): Buffer {
  return Buffer.isBuffer(bytes) ? bytes : Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}
