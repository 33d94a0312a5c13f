import type { RenderedFamily } from '../../metrics/render.ts';
import { cellOf, type StoredRow } from '../../metrics/store.ts';
import { mostValueBytes, writeValue } from '../../metrics/value-text.ts';
import type { BitWriter } from './bit-writer.ts';
import { crc32, extendChecksum, joinChecksums, power } from './checksum.ts';
import { distanceBits, distanceCounts, lengthBits, lengthCounts, shortestCopy } from './fixed-codes.ts';
import { codeLine, type LineCode, longestCodedLabels, shiftOffset } from './line-code.ts';

/** Rows of a table whose samples of one family are coded together; only the first one's line is written out. */
export const rowsPerGroup = 512;

/** A line is coded after at most two others: a family that leaves rows out has other neighbours than one that does not. */
const codesPerLine = 2;
/** In place of a value: the row has no sample of the family. */
const absent = Number.NEGATIVE_INFINITY;
/** A space, a value and the end of a line. */
const tail = new Uint8Array(mostValueBytes + 2);

/** The coded samples of some rows, as they were when they were looked at last. */
export class RowGroup {
  #rows: readonly StoredRow[] = [];
  readonly #values = new Float64Array(rowsPerGroup);
  /** Whole bytes; what they say refers to nothing before them. */
  bytes = new Uint8Array(0);
  /** Of the text. */
  length = 0;
  checksum = 0;
  /** What the checksum of the text before is multiplied by. */
  factor = 0;

  /** Codes the rows from `start` on, if one of them is another or has another value than the last time. */
  update({ table, mask, offset }: RenderedFamily, start: number, name: Uint8Array, out: BitWriter): void {
    const rows = table.rows;
    const end = Math.min(rows.length, start + rowsPerGroup);
    let changed = this.#rows.length !== end - start;
    for (let index = start; index < end; index++) {
      const row = rows[index] as StoredRow;
      const value = (row.mask & mask) === 0 ? absent : cellOf(row, offset);
      if (this.#values[index - start] !== value || this.#rows[index - start] !== row) {
        this.#values[index - start] = value;
        changed = true;
      }
    }
    if (!changed) return;
    this.#rows = rows.slice(start, end);
    this.#code(name, out);
  }

  #code(name: Uint8Array, out: BitWriter): void {
    const nameChecksum = crc32(name);
    let previous: StoredRow | undefined;
    let previousValue = Number.NaN;
    let previousLength = 0;
    let checksum = 0;
    let total = 0;
    this.#rows.forEach((row, index) => {
      const value = this.#values[index] as number;
      if (value === absent) return;
      const { labels } = row;
      tail[0] = 0x20;
      const end = writeValue(tail, 1, value);
      tail[end] = 0x0a;
      const length = name.length + labels.length + end + 1;
      out.beginBlock();
      if (previous === undefined || !isCoded(previous) || !isCoded(row)) {
        out.literals(name);
        out.literals(labels);
        out.literals(tail, 0, end + 1);
      } else {
        out.reserve(2 * labels.length + 4 * mostValueBytes);
        const code = codeAfter(row, previous.labels);
        writeLabels(out, code, name.length, previousLength);
        const common = code.suffix + (value === previousValue ? end + 1 : 1);
        if (common < shortestCopy) {
          out.literals(labels, labels.length - code.suffix);
          out.literals(tail, 0, 1);
        } else {
          out.copy(common, previousLength + labels.length - previous.labels.length);
        }
        if (value !== previousValue) out.literals(tail, 1, end + 1);
      }
      const summed = joinChecksums(checksum, nameChecksum, name.length);
      row.checksum ??= crc32(labels);
      checksum = extendChecksum(joinChecksums(summed, row.checksum, labels.length), tail, end + 1);
      total += length;
      previous = row;
      previousValue = value;
      previousLength = length;
    });
    out.align();
    this.bytes = out.take().slice();
    this.length = total;
    this.checksum = checksum;
    this.factor = power(total);
  }
}

function isCoded({ labels }: StoredRow): boolean {
  return labels.length > 0 && labels.length <= longestCodedLabels;
}

function codeAfter(row: StoredRow, previous: Uint8Array): LineCode {
  for (const code of row.codes) if (code.previous === previous) return code;
  const code = codeLine(previous, row.labels);
  if (row.codes.length === codesPerLine) row.codes.shift();
  row.codes.push(code);
  return code;
}

/** The name and the labels up to what they have in common at the end. */
function writeLabels(out: BitWriter, code: LineCode, nameLength: number, previousLength: number): void {
  const { steps } = code;
  out.copy(nameLength + code.prefix, previousLength);
  for (let index = 0; index < steps.length; index++) {
    const step = steps[index] as number;
    if (step >= 0) {
      out.put(step & 0x3ffff, step >> 18);
    } else {
      const length = ~step >> 18;
      const distance = previousLength + (~step & 0x3ffff) - shiftOffset;
      out.put(lengthBits[length] as number, lengthCounts[length] as number);
      out.put(distanceBits[distance] as number, distanceCounts[distance] as number);
    }
  }
}
