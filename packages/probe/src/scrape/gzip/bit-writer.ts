import { deflateRawSync, constants as zlib } from 'node:zlib';
import {
  distanceBits,
  distanceCounts,
  endOfBlockCount,
  lengthBits,
  lengthCounts,
  literalBits,
  literalCounts,
  longestCopy,
  shortestCopy,
} from './fixed-codes.ts';

/** Room that is always there: more than any single symbol or block mark takes. */
const slack = 64;

/** Writes a deflate stream in blocks of fixed codes; the buffer is used again after {@link BitWriter.take}. */
export class BitWriter {
  #bytes = new Uint8Array(128 * 1024);
  #length = 0;
  #hold = 0;
  #held = 0;
  #inBlock = false;

  /** Whole bytes that wait to be taken. */
  get length(): number {
    return this.#length;
  }

  /** Makes room for so many bytes and a few symbols. */
  reserve(bytes: number): void {
    if (this.#length + bytes + slack <= this.#bytes.length) return;
    const larger = new Uint8Array(2 * (this.#length + bytes + slack));
    larger.set(this.#bytes.subarray(0, this.#length));
    this.#bytes = larger;
  }

  /** What was written and is whole. Valid until the next write. */
  take(): Uint8Array {
    const bytes = this.#bytes.subarray(0, this.#length);
    this.#length = 0;
    return bytes;
  }

  /** At most 18 bits, the first one lowest; room must have been reserved. */
  put(bits: number, count: number): void {
    let hold = this.#hold | (bits << this.#held);
    let held = this.#held + count;
    while (held >= 8) {
      this.#bytes[this.#length++] = hold;
      hold >>>= 8;
      held -= 8;
    }
    this.#hold = hold;
    this.#held = held;
  }

  beginBlock(): void {
    if (this.#inBlock) return;
    this.reserve(0);
    // Not the last one; fixed codes.
    this.put(0b010, 3);
    this.#inBlock = true;
  }

  literals(bytes: Uint8Array, start = 0, end = bytes.length): void {
    this.reserve((end - start) * 2);
    for (let index = start; index < end; index++) {
      const byte = bytes[index] as number;
      this.put(literalBits[byte] as number, literalCounts[byte] as number);
    }
  }

  /** Copies what stands `distance` bytes back; at least {@link shortestCopy} bytes. */
  copy(length: number, distance: number): void {
    const [bits, count] = [distanceBits[distance] as number, distanceCounts[distance] as number];
    let rest = length;
    while (rest > longestCopy) {
      // What is left must not be too short for a copy of its own.
      const part = rest < longestCopy + shortestCopy ? longestCopy - shortestCopy : longestCopy;
      this.put(lengthBits[part] as number, lengthCounts[part] as number);
      this.put(bits, count);
      rest -= part;
    }
    this.put(lengthBits[rest] as number, lengthCounts[rest] as number);
    this.put(bits, count);
  }

  /** Compresses with the library what has no form of its own here. */
  compressed(bytes: Uint8Array): void {
    this.align();
    const deflated = deflateRawSync(bytes, { level: 1, finishFlush: zlib.Z_SYNC_FLUSH });
    this.raw(deflated);
  }

  /** Bytes as they are, outside of blocks. */
  raw(bytes: Uint8Array): void {
    this.reserve(bytes.length);
    this.#bytes.set(bytes, this.#length);
    this.#length += bytes.length;
  }

  /** Ends the stream at a whole byte. */
  end(): void {
    this.align();
    // The last block, of fixed codes and empty.
    this.put(0b011, 3);
    this.put(0, endOfBlockCount);
    if (this.#held > 0) this.put(0, 8 - this.#held);
  }

  /** Ends a block of fixed codes, and with an empty stored one goes on at a whole byte. */
  align(): void {
    if (!this.#inBlock) return;
    this.#inBlock = false;
    this.reserve(0);
    this.put(0, endOfBlockCount);
    this.put(0, 3);
    if (this.#held > 0) this.put(0, 8 - this.#held);
    for (const byte of [0, 0, 255, 255]) this.put(byte, 8);
  }
}
