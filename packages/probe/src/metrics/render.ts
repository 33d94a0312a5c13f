import { maximumValueBytes, writeValue } from './exposition-text.ts';
import { cellOf, type MetricStore, type StoredRow, type StoredTable } from './store.ts';
import { familyOffset, type MetricFamily } from './tables.ts';

const chunkBytes = 256 * 1024;
/** Longer labels, which are unusual, are written in parts. */
const longestWholeLabels = chunkBytes / 4;
const encoder = new TextEncoder();

/** A family that has samples. */
interface RenderedFamily {
  readonly table: StoredTable;
  readonly family: MetricFamily;
  /** Its bit in the masks of rows. */
  readonly mask: number;
  /** Its first cell in a row. */
  readonly offset: number;
}

/** Yields the families in the order of the exposition; those without samples are absent (ambient contract 15.1). */
function* renderedFamilies(store: MetricStore): Generator<RenderedFamily, void, undefined> {
  for (const table of store.tables) {
    for (let index = 0; index < table.spec.families.length; index++) {
      const family = table.spec.families[index] as MetricFamily;
      const mask = 1 << index;
      if (!table.rows.some((row) => (row.mask & mask) !== 0)) continue;
      yield { table, family, mask, offset: familyOffset(table.spec, index) };
    }
  }
}

/**
 * Formats the families of data threads and the kernel path as OpenMetrics (without the end marker), in chunks. The
 * buffer is reused: a chunk is valid until the next one is requested.
 */
export function* renderStore(store: MetricStore): Generator<Uint8Array, void, undefined> {
  const page = new Page();
  for (const rendered of renderedFamilies(store)) {
    yield* page.text(familyHeader(rendered.family));
    if (rendered.family.kind === 'histogram') yield* renderHistogram(page, rendered);
    else yield* renderPlain(page, rendered);
  }
  yield* page.flush();
}

/** Returns the two comment lines of a family; the name of a counter has no `_total` there. */
function familyHeader(family: MetricFamily): string {
  return `# HELP ${family.name} ${family.help}.\n# TYPE ${family.name} ${family.kind}\n`;
}

/** Returns the name of a family's samples, other than a histogram's. */
function sampleName(family: MetricFamily): string {
  return family.kind === 'counter' ? `${family.name}_total` : family.name;
}

function* renderPlain(
  page: Page,
  { table, family, mask, offset }: RenderedFamily,
): Generator<Uint8Array, void, undefined> {
  const name = encoder.encode(sampleName(family));
  // An index: V8 allocates an object for each step of an iterator in a generator, 4 MB in a scrape of 100,000 series.
  for (let index = 0; index < table.rows.length; index++) {
    const row = table.rows[index] as StoredRow;
    if ((row.mask & mask) === 0) continue;
    const whole = Math.min(row.labelBytes, longestWholeLabels);
    if (!page.fits(name.length + whole + maximumValueBytes + 2)) yield* page.flush();
    page.append(name);
    if (row.labelBytes <= longestWholeLabels) page.write(row.labels);
    else yield* page.text(row.labels);
    page.value(cellOf(row, offset));
  }
}

function* renderHistogram(
  page: Page,
  { table, family, mask, offset }: RenderedFamily,
): Generator<Uint8Array, void, undefined> {
  const bounds = [...(family.bounds ?? []).map(bucketBound), '+Inf'];
  for (const row of table.rows) {
    if ((row.mask & mask) === 0) continue;
    yield* page.text(histogramLines(family.name, row, bounds, offset));
  }
}

function histogramLines(name: string, row: StoredRow, bounds: readonly string[], offset: number): string {
  const open = row.labels === '' ? '{' : `${row.labels.slice(0, -1)},`;
  let count = 0;
  let text = '';
  bounds.forEach((bound, bucket) => {
    count += cellOf(row, offset + bucket);
    text += `${name}_bucket${open}le="${bound}"} ${count}\n`;
  });
  const sum = cellOf(row, offset + bounds.length);
  return `${text}${name}_sum${row.labels} ${sum}\n${name}_count${row.labels} ${count}\n`;
}

/** Formats a bucket bound; OpenMetrics requires a fraction, as in `1.0`. */
function bucketBound(bound: number): string {
  return Number.isInteger(bound) ? `${bound}.0` : `${bound}`;
}

/** A reused output buffer. */
class Page {
  readonly #bytes = Buffer.alloc(chunkBytes);
  #length = 0;

  fits(bytes: number): boolean {
    return this.#length + bytes <= chunkBytes;
  }

  append(bytes: Uint8Array): void {
    this.#bytes.set(bytes, this.#length);
    this.#length += bytes.length;
  }

  /** Writes a text that fits. */
  write(text: string): void {
    this.#length += this.#bytes.write(text, this.#length);
  }

  /** Writes a space, the number and the end of the line. */
  value(value: number): void {
    const bytes = this.#bytes;
    bytes[this.#length++] = 0x20;
    this.#length = writeValue(bytes, this.#length, value);
    bytes[this.#length++] = 0x0a;
  }

  text(text: string): Generator<Uint8Array, void, undefined> {
    return this.bytes(encoder.encode(text));
  }

  /** Writes bytes of any length; leaves room for a value. */
  *bytes(bytes: Uint8Array): Generator<Uint8Array, void, undefined> {
    for (let start = 0; start < bytes.length; ) {
      if (this.#length === chunkBytes) yield* this.flush();
      const piece = bytes.subarray(start, start + chunkBytes - this.#length);
      this.append(piece);
      start += piece.length;
    }
    if (!this.fits(maximumValueBytes + 2)) yield* this.flush();
  }

  *flush(): Generator<Uint8Array, void, undefined> {
    if (this.#length > 0) yield this.#bytes.subarray(0, this.#length);
    this.#length = 0;
  }
}
