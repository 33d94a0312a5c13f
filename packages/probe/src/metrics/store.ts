import { type MessagePort, receiveMessageOnPort } from 'node:worker_threads';
import type { RecorderMessage, ReleasedMessage } from './messages.ts';
import { type FamilyMask, type MetricTable, metricTables, rowWidth, type TableName } from './tables.ts';

/** The cells in which one recorder counts a series. */
interface Contribution {
  readonly cells: Float64Array;
  readonly offset: number;
}

/**
 * One label set merged over all recorders. It is one object and one string: at 100,000 series their number, not their
 * size, is what a garbage collection of the scrape thread costs, and V8's helper threads have no low priority.
 */
export interface StoredRow {
  readonly table: StoredTable;
  /** `{…}`, or empty. */
  readonly labels: string;
  /** Length of the labels in UTF-8. */
  readonly labelBytes: number;
  mask: FamilyMask;
  /** The cells of the first recorder; in the common case no other one counts this label set. */
  cells: Float64Array | undefined;
  offset: number;
  more: Contribution[] | undefined;
  /** Final counts of recorders that have ended, while others still count. */
  base: Float64Array | undefined;
  index: number;
}

export interface StoredTable {
  readonly name: TableName;
  readonly spec: MetricTable;
  readonly rows: StoredRow[];
  readonly byLabels: Map<string, StoredRow>;
}

interface Recorder {
  readonly port: MessagePort;
  readonly segments: Float64Array[];
  readonly rows: Map<number, StoredRow>;
}

/** The reading half of the metrics, in the scrape thread: merges the rows of every recorder by label set. */
export class MetricStore {
  readonly tables: readonly StoredTable[];
  readonly #byName: ReadonlyMap<string, StoredTable>;
  readonly #recorders = new Set<Recorder>();

  constructor() {
    this.tables = Object.entries(metricTables).map(([name, spec]) => ({
      name: name as TableName,
      spec,
      rows: [],
      byLabels: new Map(),
    }));
    this.#byName = new Map(this.tables.map((table) => [table.name, table]));
  }

  /** Adds a recorder's end of the channel. Its messages are read only by {@link refresh}. */
  attach(port: MessagePort): void {
    const recorder: Recorder = { port, segments: [], rows: new Map() };
    this.#recorders.add(recorder);
    port.on('close', () => this.#orphan(recorder));
    port.unref();
  }

  /** Processes every message sent so far: each series recorded before this call is then visible. */
  refresh(): void {
    for (const recorder of this.#recorders) {
      for (;;) {
        const received = receiveMessageOnPort(recorder.port);
        if (received === undefined) break;
        this.#apply(recorder, received.message as RecorderMessage);
      }
    }
  }

  close(): void {
    for (const { port } of this.#recorders) port.close();
    this.#recorders.clear();
  }

  #apply(recorder: Recorder, message: RecorderMessage): void {
    if (message.kind === 'segment') {
      recorder.segments.push(message.cells);
    } else if (message.kind === 'release') {
      this.#drop(recorder, message.row);
      const answer: ReleasedMessage = { released: message.row };
      recorder.port.postMessage(answer);
    } else {
      const table = this.#byName.get(message.table);
      const cells = recorder.segments[message.segment];
      if (table === undefined || cells === undefined) return;
      const row = this.#rowOf(table, message.labels);
      row.mask |= message.mask;
      if (row.cells === undefined) {
        row.cells = cells;
        row.offset = message.offset;
      } else row.more = [...(row.more ?? []), { cells, offset: message.offset }];
      recorder.rows.set(message.row, row);
    }
  }

  #rowOf(table: StoredTable, labels: string): StoredRow {
    const found = table.byLabels.get(labels);
    if (found) return found;
    const row: StoredRow = {
      table,
      labels,
      labelBytes: Buffer.byteLength(labels),
      mask: 0,
      cells: undefined,
      offset: 0,
      more: undefined,
      base: undefined,
      index: table.rows.length,
    };
    table.rows.push(row);
    table.byLabels.set(labels, row);
    return row;
  }

  /** Handles the end of a row in one recorder: its value stays in the sum while another recorder counts there. */
  #drop(recorder: Recorder, id: number): void {
    const row = recorder.rows.get(id);
    if (row === undefined) return;
    recorder.rows.delete(id);
    this.#fold(recorder, row);
    if (row.cells !== undefined) return;
    const { byLabels, rows } = row.table;
    byLabels.delete(row.labels);
    const last = rows.pop();
    if (last !== undefined && last !== row) {
      rows[row.index] = last;
      last.index = row.index;
    }
  }

  /** Adds what a recorder counted in a row to its base, and forgets the recorder's cells. */
  #fold(recorder: Recorder, row: StoredRow): void {
    const all = [...(row.cells ? [{ cells: row.cells, offset: row.offset }] : []), ...(row.more ?? [])];
    const ended = all.find(({ cells }) => recorder.segments.includes(cells));
    if (ended === undefined) return;
    const width = rowWidth(row.table.spec);
    row.base ??= new Float64Array(width);
    for (let cell = 0; cell < width; cell++) {
      row.base[cell] = (row.base[cell] ?? 0) + (ended.cells[ended.offset + cell] ?? 0);
    }
    const [first, ...more] = all.filter((other) => other !== ended);
    row.cells = first?.cells;
    row.offset = first?.offset ?? 0;
    row.more = more.length > 0 ? more : undefined;
  }

  /** Handles the end of a thread: its counters stay, its gauges are removed. */
  #orphan(recorder: Recorder): void {
    this.#recorders.delete(recorder);
    for (const row of recorder.rows.values()) {
      this.#fold(recorder, row);
      if (row.table.name === 'sockets') row.base?.fill(0);
    }
    recorder.rows.clear();
  }
}

/** Returns the sum of one cell over all recorders. */
export function cellOf(row: StoredRow, cell: number): number {
  let value = row.base === undefined ? 0 : (row.base[cell] ?? 0);
  if (row.cells !== undefined) value += row.cells[row.offset + cell] ?? 0;
  if (row.more !== undefined) {
    for (const { cells, offset } of row.more) value += cells[offset + cell] ?? 0;
  }
  return value;
}
