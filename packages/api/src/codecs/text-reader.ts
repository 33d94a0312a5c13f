import protobuf from 'protobufjs/minimal.js';

/** A power of two. What is shared is decided by chance of the slot, so more slots share more. */
const slotCount = 16_384;
const longestShared = 160;
const slots = new Array<string>(slotCount).fill('');

/**
 * A reader that gives equal short texts as one string. Most texts of a mesh are repeated thousands of times (namespaces,
 * nodes, service accounts), and the library puts each of them together from pieces, which stay in memory as pieces.
 *
 * The shared strings live in a table of fixed size in which a text takes the place of another one: memory is bounded
 * whatever is read. Texts that are not plain ASCII, or long, are left to the library.
 */
export class TextReader extends protobuf.BufferReader {
  override string(): string {
    return this.#sharedText() ?? super.string();
  }

  /** As `string`, and throws on bytes that are not UTF-8. */
  override stringVerify(): string {
    return this.#sharedText() ?? super.stringVerify();
  }

  /** The text at the current position; `undefined`, and nothing is consumed, when the library has to read it. */
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
