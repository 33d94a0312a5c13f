import { cellOf, type MetricStore, type StoredRow, type StoredTable } from './store.ts';
import { familyOffset, type MetricFamily } from './tables.ts';

const chunkBytes = 256 * 1024;
const encoder = new TextEncoder();

/**
 * The hot families as OpenMetrics text (without the end marker), in chunks. A chunk's bytes are valid until the next one is
 * asked for: the buffer is used again. Families without samples are absent (ambient contract 15.1).
 */
export function* renderStore(store: MetricStore): Generator<Uint8Array, void, undefined> {
  const page = new Page();
  for (const table of store.tables) {
    for (let index = 0; index < table.spec.families.length; index++) {
      const family = table.spec.families[index] as MetricFamily;
      const mask = 1 << index;
      if (!table.rows.some((row) => (row.mask & mask) !== 0)) continue;
      yield* page.text(familyHeader(family));
      const offset = familyOffset(table.spec, index);
      if (family.kind === 'histogram') yield* renderHistogram(page, table, family, mask, offset);
      else yield* renderPlain(page, table, family, mask, offset);
    }
  }
  yield* page.flush();
}

/** The two comment lines of a family; the name of a counter has no `_total` there. */
export function familyHeader(family: MetricFamily): string {
  return `# HELP ${family.name} ${family.help}.\n# TYPE ${family.name} ${family.kind}\n`;
}

function* renderPlain(
  page: Page,
  table: StoredTable,
  family: MetricFamily,
  mask: number,
  offset: number,
): Generator<Uint8Array, void, undefined> {
  const name = encoder.encode(family.kind === 'counter' ? `${family.name}_total` : family.name);
  for (const row of table.rows) {
    if ((row.mask & mask) === 0) continue;
    if (!page.fits(name.length + row.labels.length + 32)) yield* page.flush();
    page.append(name);
    page.append(row.labels);
    page.value(cellOf(row, offset));
  }
}

function* renderHistogram(
  page: Page,
  table: StoredTable,
  family: MetricFamily,
  mask: number,
  offset: number,
): Generator<Uint8Array, void, undefined> {
  const bounds = [...(family.bounds ?? []).map(bucketBound), '+Inf'];
  for (const row of table.rows) {
    if ((row.mask & mask) === 0) continue;
    yield* page.text(histogramLines(family.name, row, bounds, offset));
  }
}

function histogramLines(name: string, row: StoredRow, bounds: readonly string[], offset: number): string {
  const open = row.text === '' ? '{' : `${row.text.slice(0, -1)},`;
  let count = 0;
  let text = '';
  bounds.forEach((bound, bucket) => {
    count += cellOf(row, offset + bucket);
    text += `${name}_bucket${open}le="${bound}"} ${count}\n`;
  });
  const sum = cellOf(row, offset + bounds.length);
  return `${text}${name}_sum${row.text} ${sum}\n${name}_count${row.text} ${count}\n`;
}

/** OpenMetrics wants a fraction even where there is none: `1.0`. */
function bucketBound(bound: number): string {
  return Number.isInteger(bound) ? `${bound}.0` : `${bound}`;
}

/** A reused output buffer. */
class Page {
  readonly #bytes = new Uint8Array(chunkBytes);
  #length = 0;

  fits(bytes: number): boolean {
    return this.#length + bytes <= chunkBytes;
  }

  append(bytes: Uint8Array): void {
    this.#bytes.set(bytes, this.#length);
    this.#length += bytes.length;
  }

  /** A space, the number and the end of the line. */
  value(value: number): void {
    const bytes = this.#bytes;
    bytes[this.#length++] = 0x20;
    if (value >= 0 && Number.isSafeInteger(value)) {
      if (value < 1_000_000_000) this.#digits(value | 0, 0);
      else {
        const upper = Math.floor(value / 1_000_000_000);
        const lower = value - upper * 1_000_000_000;
        if (upper < 1_000_000_000) this.#digits(upper | 0, 0);
        else this.#textNow(`${upper}`);
        this.#digits(lower | 0, 9);
      }
    } else {
      this.#textNow(`${value}`.replace('Infinity', 'Inf'));
    }
    bytes[this.#length++] = 0x0a;
  }

  *text(text: string): Generator<Uint8Array, void, undefined> {
    const bytes = encoder.encode(text);
    for (let start = 0; start < bytes.length; ) {
      if (this.#length === chunkBytes) yield* this.flush();
      const piece = bytes.subarray(start, start + chunkBytes - this.#length);
      this.append(piece);
      start += piece.length;
    }
  }

  *flush(): Generator<Uint8Array, void, undefined> {
    if (this.#length > 0) yield this.#bytes.subarray(0, this.#length);
    this.#length = 0;
  }

  #textNow(text: string): void {
    for (let index = 0; index < text.length; index++) this.#bytes[this.#length++] = text.charCodeAt(index);
  }

  /** A non-negative 31-bit number in decimal, with zeros in front up to `width`. */
  #digits(value: number, width: number): void {
    let count = 1;
    for (let rest = (value / 10) | 0; rest > 0; rest = (rest / 10) | 0) count++;
    if (count < width) count = width;
    const bytes = this.#bytes;
    let rest = value;
    for (let position = this.#length + count - 1; position >= this.#length; position--) {
      const next = (rest / 10) | 0;
      bytes[position] = 0x30 + (rest - next * 10);
      rest = next;
    }
    this.#length += count;
  }
}
