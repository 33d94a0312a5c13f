import protobuf from 'protobufjs/minimal.js';
import { TextReader } from './text-reader.ts';

// 64-bit fields as plain numbers: the only one that is sent is a lifetime in seconds, exact in a double.
protobuf.util.Long = null as never;
protobuf.configure();

/** What the generated modules offer for each message. */
interface GeneratedMessage<Input, Output> {
  encode(message: Input): { finish(): Uint8Array };
  decode(reader: protobuf.Reader): Output;
}

/**
 * Encoder and decoder of one wire message.
 *
 * `encode` takes plain objects in which every field may be missing. `decode` throws (`Error`, `RangeError`) on bytes
 * that are not such a message; it skips fields that it does not know, keeps unknown enum numbers as they are, and
 * gives `null` for sub-messages and `optional` fields that are absent.
 */
export interface Codec<Input, Output> {
  encode(message: Input): Buffer;
  decode(bytes: Uint8Array): Output;
  /** As `decode`, and messages at every level carry the fields that it did not know in `$unknowns`. */
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

/** A view, not a copy: byte fields of a decoded message stay views of the bytes that were decoded. */
function asBuffer(bytes: Uint8Array): Buffer {
  return Buffer.isBuffer(bytes) ? bytes : Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}
