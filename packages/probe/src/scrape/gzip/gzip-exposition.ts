import {
  familyHeader,
  type RenderedFamily,
  renderedFamilies,
  renderHistogramSamples,
  sampleName,
} from '../../metrics/render.ts';
import { cellOf, type MetricStore, type StoredRow } from '../../metrics/store.ts';
import { mostValueBytes, writeValue } from '../../metrics/value-text.ts';
import { BitWriter } from './bit-writer.ts';
import { crc32, extendChecksum, joinChecksums } from './checksum.ts';
import { distanceBits, distanceCounts, lengthBits, lengthCounts, shortestCopy } from './fixed-codes.ts';
import { codeLine, type LineCode, longestCodedLabels, shiftOffset } from './line-code.ts';

const pieceBytes = 64 * 1024;
const encoder = new TextEncoder();
/** A line is coded after at most two others: a family that leaves rows out has other neighbours than one that does not. */
const codesPerLine = 2;

/**
 * The exposition as gzip (RFC 1951, 1952), made from the rows and not from their text: lines differ little from those before,
 * and how they differ is known since the last scrape. 100,000 series cost a tenth of what compressing
 * their 60 MB would, and neither memory is given out nor the text ever written, so other threads keep their caches.
 *
 * A piece is valid until the next one is asked for.
 *
 * @param texts what follows the hot families
 */
export function* gzipExposition(
  store: MetricStore,
  texts: readonly string[],
): Generator<Uint8Array, void, undefined> {
  const body = new GzipBody();
  for (const rendered of renderedFamilies(store)) {
    body.text(encoder.encode(familyHeader(rendered.family)));
    if (rendered.family.kind === 'histogram') {
      for (const piece of renderHistogramSamples(rendered)) {
        body.compressed(piece);
        yield body.out.take();
      }
    } else {
      yield* body.samples(rendered);
    }
  }
  body.compressed(encoder.encode(texts.join('')));
  body.end();
  yield body.out.take();
}

class GzipBody {
  readonly out = new BitWriter();
  #checksum = 0;
  #length = 0;
  /** A space, a value and the end of a line. */
  readonly #tail = new Uint8Array(mostValueBytes + 2);

  constructor() {
    this.out.raw(Uint8Array.of(0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 4, 255));
  }

  text(bytes: Uint8Array): void {
    this.#sum(bytes);
    this.out.beginBlock();
    this.out.literals(bytes);
  }

  compressed(bytes: Uint8Array): void {
    this.#sum(bytes);
    this.out.compressed(bytes);
  }

  *samples({ table, family, mask, offset }: RenderedFamily): Generator<Uint8Array, void, undefined> {
    const { out } = this;
    const name = encoder.encode(sampleName(family));
    const nameChecksum = crc32(name);
    const tail = this.#tail;
    let previous: StoredRow | undefined;
    let previousValue = Number.NaN;
    let previousLength = 0;
    out.beginBlock();
    for (const row of table.rows) {
      if ((row.mask & mask) === 0) continue;
      const value = cellOf(row, offset);
      const { labels } = row;
      tail[0] = 0x20;
      const end = writeValue(tail, 1, value);
      tail[end] = 0x0a;
      const length = name.length + labels.length + end + 1;
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
      const summed = joinChecksums(this.#checksum, nameChecksum, name.length);
      row.checksum ??= crc32(labels);
      this.#checksum = extendChecksum(joinChecksums(summed, row.checksum, labels.length), tail, end + 1);
      this.#length += length;
      previous = row;
      previousValue = value;
      previousLength = length;
      if (out.length >= pieceBytes) yield out.take();
    }
  }

  end(): void {
    this.out.end();
    const trailer = new Uint8Array(8);
    const view = new DataView(trailer.buffer);
    view.setUint32(0, this.#checksum, true);
    view.setUint32(4, this.#length % 2 ** 32, true);
    this.out.raw(trailer);
  }

  #sum(bytes: Uint8Array): void {
    this.#checksum = crc32(bytes, this.#checksum);
    this.#length += bytes.length;
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
