import { type MessagePort, receiveMessageOnPort } from 'node:worker_threads';
import { labelText } from './exposition-text.ts';
import {
  type RecorderMessage,
  type ReleasedMessage,
  returnSeries,
  type SeriesBudget,
  takeSeries,
} from './messages.ts';
import {
  type FamilyMask,
  type MetricTable,
  metricTables,
  rowWidth,
  seriesOf,
  type TableName,
} from './tables.ts';

const segmentCells = 65_536;

/** A series of departed workloads is retired after this time without a record. */
export const retireAfterMilliseconds = 15 * 60_000;

/**
 * One label set of one table in the recording thread. Count with `row.cells[row.offset + cell] += n`; cells are
 * 64-bit floating point, exact up to 2^53 (8 PiB of bytes).
 */
export interface MetricRow {
  readonly cells: Float64Array;
  readonly offset: number;
  /** Number of live connections that may still count here; with any, the row is never retired. */
  open: number;
  /** Whether something was recorded since the last sweep. */
  touched: boolean;
}

interface OwnedRow extends MetricRow {
  readonly id: number;
  readonly table: TableName;
  readonly key: string;
  readonly lines: number;
  /** Workloads described by this row, as named by {@link WorkloadPresence}. */
  readonly subjects: readonly string[];
  /** The pod whose share includes the row. */
  readonly owner: string | undefined;
  idleSince: number;
}

/** Interval of sweeps for departed workloads. */
const sweepIntervalMilliseconds = 60_000;

/**
 * Retires the rows of departed workloads once a minute. Does not keep the process alive.
 *
 * @returns a function that stops it
 */
export function retireDeparted(recorder: MetricRecorder, presence: Presence): () => void {
  const timer = setInterval(() => recorder.sweep(presence, performance.now()), sweepIntervalMilliseconds);
  timer.unref();
  return () => clearInterval(timer);
}

/** Returns whether a workload, named `namespace/workload name`, is still in the mesh. */
export interface Presence {
  /** Begins a sweep: answers must stay valid until its end. */
  begin(): void;
  has(subject: string): boolean;
  end(): void;
}

export interface RecorderChannel {
  /** Port to the scrape thread's store. */
  readonly port: MessagePort;
  readonly budget: SeriesBudget;
}

/**
 * The recording half of the metrics: one per thread, used only by that thread. Label sets are interned to rows of typed
 * arrays in shared memory that the scrape thread reads; recording is an addition, without lock or message.
 */
export class MetricRecorder {
  readonly #channel: RecorderChannel;
  readonly #rows = new Map<string, OwnedRow>();
  /** Number of series of each pod that has a share. */
  readonly #owned = new Map<string, number>();
  /** Released rows whose cells the scrape thread has not read yet. */
  readonly #quarantine = new Map<number, OwnedRow>();
  /** Free cells by row width. */
  readonly #free = new Map<number, { segment: number; offset: number }[]>();
  readonly #segments: Float64Array[] = [];
  readonly #segmentOf = new WeakMap<Float64Array, number>();
  #used = segmentCells;
  #nextRow = 0;
  #released = 0;

  constructor(channel: RecorderChannel) {
    this.#channel = channel;
  }

  /** Changes whenever rows were retired: earlier references are then stale, except rows with `open > 0`. */
  get generation(): number {
    return this.#released;
  }

  /**
   * Returns the row of a label set in the share of a pod; `undefined` if it is new and the pod would exceed `most`
   * series. See {@link MetricRecorder.row}.
   */
  rowOf(
    owner: { readonly pod: string; readonly most: number },
    ...[table, values, mask, subjects]: Parameters<MetricRecorder['row']>
  ): MetricRow | undefined {
    const held = this.#owned.get(owner.pod) ?? 0;
    const more = seriesOf(metricTables[table], mask);
    if (held + more > owner.most && !this.#rows.has(keyOf(table, values))) return undefined;
    return this.#row(owner.pod, table, values, mask, subjects);
  }

  /**
   * Returns the row of a label set, creating it if needed. A row beyond the cap on series is a sink: counting there is
   * harmless and invisible.
   *
   * @param subjects workloads (`namespace/name`) whose departure retires the row; none = kept forever
   */
  row(
    table: TableName,
    values: readonly string[],
    mask: FamilyMask,
    subjects: readonly string[] = [],
  ): MetricRow {
    return this.#row(undefined, table, values, mask, subjects);
  }

  #row(
    owner: string | undefined,
    table: TableName,
    values: readonly string[],
    mask: FamilyMask,
    subjects: readonly string[] = [],
  ): MetricRow {
    const key = keyOf(table, values);
    const found = this.#rows.get(key);
    if (found) return found;
    const spec: MetricTable = metricTables[table];
    const lines = seriesOf(spec, mask);
    const width = rowWidth(spec);
    if (!takeSeries(this.#channel.budget, lines)) {
      return { cells: new Float64Array(width), offset: 0, open: 0, touched: false };
    }
    const { segment, offset } = this.#allocate(width);
    const cells = this.#segments[segment] as Float64Array;
    const id = this.#nextRow++;
    const row: OwnedRow = {
      cells,
      offset,
      open: 0,
      touched: true,
      id,
      table,
      key,
      lines,
      subjects,
      owner,
      idleSince: Number.POSITIVE_INFINITY,
    };
    this.#rows.set(key, row);
    if (owner !== undefined) this.#owned.set(owner, (this.#owned.get(owner) ?? 0) + lines);
    this.#post({
      kind: 'row',
      row: id,
      table,
      mask,
      labels: labelText(spec.labels, values),
      segment,
      offset,
    });
    return row;
  }

  /**
   * Retires rows of departed workloads: no live connection, a workload that `presence` no longer has, and no
   * record for {@link retireAfterMilliseconds}. Call about once a minute.
   *
   * @param now milliseconds of any monotonic clock, the same one at each call
   */
  sweep(presence: Presence, now: number): number {
    this.#reclaim();
    presence.begin();
    let retired = 0;
    for (const row of this.#rows.values()) {
      if (row.touched || row.open > 0 || row.idleSince > now) {
        row.touched = false;
        row.idleSince = now;
      }
      if (row.open > 0 || now - row.idleSince < retireAfterMilliseconds) continue;
      if (row.subjects.every((subject) => presence.has(subject))) continue;
      this.#release(row);
      retired++;
    }
    presence.end();
    return retired;
  }

  close(): void {
    this.#channel.port.close();
  }

  #release(row: OwnedRow): void {
    this.#rows.delete(row.key);
    this.#quarantine.set(row.id, row);
    this.#released++;
    if (row.owner !== undefined) this.#disown(row.owner, row.lines);
    returnSeries(this.#channel.budget, row.lines);
    this.#post({ kind: 'release', row: row.id });
  }

  #disown(owner: string, lines: number): void {
    const left = (this.#owned.get(owner) ?? 0) - lines;
    if (left > 0) this.#owned.set(owner, left);
    else this.#owned.delete(owner);
  }

  /** Reuses cells only after the scrape thread has reported that it read their final value. */
  #reclaim(): void {
    for (;;) {
      const received = receiveMessageOnPort(this.#channel.port);
      if (received === undefined) return;
      const row = this.#quarantine.get((received.message as ReleasedMessage).released);
      if (row === undefined) continue;
      this.#quarantine.delete(row.id);
      const width = rowWidth(metricTables[row.table]);
      row.cells.fill(0, row.offset, row.offset + width);
      const free = this.#free.get(width) ?? [];
      free.push({ segment: this.#segmentOf.get(row.cells) ?? 0, offset: row.offset });
      this.#free.set(width, free);
    }
  }

  #allocate(width: number): { segment: number; offset: number } {
    const free = this.#free.get(width)?.pop();
    if (free) return free;
    if (this.#used + width > segmentCells) {
      const cells = new Float64Array(new SharedArrayBuffer(segmentCells * 8));
      this.#segmentOf.set(cells, this.#segments.length);
      this.#segments.push(cells);
      this.#used = 0;
      this.#post({ kind: 'segment', cells });
    }
    const offset = this.#used;
    this.#used += width;
    return { segment: this.#segments.length - 1, offset };
  }

  #post(message: RecorderMessage): void {
    this.#channel.port.postMessage(message);
  }
}

function keyOf(table: TableName, values: readonly string[]): string {
  return `${table}\n${values.join('\n')}`;
}

/** Adds to one cell of a row. */
export function add(row: MetricRow, cell: number, count: number): void {
  const position = row.offset + cell;
  row.cells[position] = (row.cells[position] as number) + count;
  row.touched = true;
}

/**
 * Counts one observation of a histogram in its bucket and in the sum; the exposition accumulates the buckets.
 *
 * @param first cell of the histogram's first bucket
 */
export function observe(row: MetricRow, bounds: readonly number[], value: number, first = 0): void {
  let bucket = 0;
  while (bucket < bounds.length && value > (bounds[bucket] as number)) bucket++;
  add(row, first + bucket, 1);
  add(row, first + bounds.length + 1, value);
}
