import { type Pause, withoutPauses } from '../../metrics/pause.ts';
import {
  familyHeader,
  type RenderedFamily,
  renderedFamilies,
  renderHistogramSamples,
  sampleName,
} from '../../metrics/render.ts';
import type { MetricStore, StoredTable } from '../../metrics/store.ts';
import { BitWriter } from './bit-writer.ts';
import { crc32, multiply } from './checksum.ts';
import { RowGroup, rowsPerGroup } from './row-group.ts';

const pieceBytes = 64 * 1024;
const encoder = new TextEncoder();

/**
 * The exposition as gzip (RFC 1951, 1952), made from the rows and not from their text: lines differ little from those before,
 * and how they differ is known since the last scrape. Rows that have not changed since then are not even coded again, but
 * copied in groups. The text, 60 MB for 100,000 series, is never written, so other threads keep their caches.
 */
export class GzipExposition {
  readonly #store: MetricStore;
  /** By table and by the family's first cell. */
  readonly #groups = new Map<StoredTable, Map<number, RowGroup[]>>();
  /** A group is coded in one go, so all bodies that are being written can share it. */
  readonly #scratch = new BitWriter();

  constructor(store: MetricStore) {
    this.#store = store;
  }

  /**
   * A whole body. A piece is valid until the next one is asked for.
   *
   * @param texts what follows the hot families
   * @param pause called now and then
   */
  *pieces(texts: readonly string[], pause: Pause = withoutPauses): Generator<Uint8Array, void, undefined> {
    const body = new GzipBody();
    for (const rendered of renderedFamilies(this.#store)) {
      body.text(encoder.encode(familyHeader(rendered.family)));
      if (rendered.family.kind === 'histogram') {
        for (const piece of renderHistogramSamples(rendered, pause)) {
          body.compressed(piece);
          yield body.out.take();
        }
        continue;
      }
      const name = encoder.encode(sampleName(rendered.family));
      for (const [index, group] of this.#groupsOf(rendered).entries()) {
        pause();
        group.update(rendered, index * rowsPerGroup, name, this.#scratch);
        body.group(group);
        if (body.out.length >= pieceBytes) yield body.out.take();
      }
    }
    body.compressed(encoder.encode(texts.join('')));
    body.end();
    yield body.out.take();
  }

  #groupsOf({ table, offset }: RenderedFamily): readonly RowGroup[] {
    const families = this.#groups.get(table) ?? new Map<number, RowGroup[]>();
    const groups = families.get(offset) ?? [];
    this.#groups.set(table, families.set(offset, groups));
    const count = Math.ceil(table.rows.length / rowsPerGroup);
    while (groups.length < count) groups.push(new RowGroup());
    groups.length = count;
    return groups;
  }
}

class GzipBody {
  readonly out = new BitWriter();
  #checksum = 0;
  #length = 0;

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

  group({ bytes, checksum, factor, length }: RowGroup): void {
    this.out.align();
    this.out.raw(bytes);
    this.#checksum = (multiply(factor, this.#checksum) ^ checksum) >>> 0;
    this.#length += length;
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
