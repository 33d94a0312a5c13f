import protobuf from 'protobufjs/minimal.js';

/** A power of two. Texts with the same slot evict each other, so more slots share more texts. */
const slotCount = 16_384;
const longestShared = 160;
const slots = new Array<string>(slotCount).fill('');

/**
 * A reader that returns equal short texts as one string. Most texts of a mesh repeat thousands of times (namespaces,
 * nodes, service accounts), and the library builds each by concatenation, which leaves rope strings in memory.
 *
 * Shared strings are in a direct-mapped table of fixed size, so memory is bounded for any input. Texts that are long or
 * not plain ASCII are read by the library.
 */
export class TextReader extends protobuf.BufferReader {
  override string(): string {
    return this.#sharedText() ?? super.string();
  }

  /** As `string`; throws on bytes that are not UTF-8. */
  override stringVerify(): string {
    return this.#sharedText() ?? super.stringVerify();
  }

  /** Reads a shared text. Returns `undefined` and consumes nothing if the library must read it. */
  #sharedText(): string | undefined {
    const before = this.pos;
    const length = this.size();
    const start = this.pos;
    const end = start + length;
    if (length <= longestShared && end <= this.len) {
      const bytes = this.buf as Buffer;
      let hash = length;
      let all = 0;
      for (let at = start; at < end; at++) {
        const byte = bytes[at] as number;
        all |= byte;
        hash = (Math.imul(hash, 31) + byte) | 0;
      }
      if (all < 0x80) {
        this.pos = end;
        return sharedText(bytes, start, end, (hash ^ (hash >>> 15)) & (slotCount - 1));
      }
    }
    this.pos = before;
    return undefined;
  }
}

function sharedText(bytes: Buffer, start: number, end: number, slot: number): string {
  const known = slots[slot] as string;
  if (known.length === end - start && isText(known, bytes, start)) return known;
  const text = bytes.toString('latin1', start, end);
  slots[slot] = text;
  return text;
}

function isText(text: string, bytes: Buffer, start: number): boolean {
  for (let at = 0; at < text.length; at++) if (text.charCodeAt(at) !== bytes[start + at]) return false;
  return true;
}
