import { type MessagePort, receiveMessageOnPort } from 'node:worker_threads';
import type { RecorderMessage, ReleasedMessage } from './messages.ts';
import { type FamilyMask, type MetricTable, metricTables, rowWidth, type TableName } from './tables.ts';

/** The cells in which one recorder counts a series. */
interface Contribution {
  readonly cells: Float64Array;
  readonly offset: number;
}

/** One label set merged over all recorders. */
export interface StoredRow {
  /** `{…}` in UTF-8, or empty. */
  readonly labels: Uint8Array;
  readonly text: string;
  mask: FamilyMask;
  /** The common case: a single recorder counts this label set. */
  first: Contribution | undefined;
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
  readonly rows: Map<number, { table: StoredTable; row: StoredRow; contribution: Contribution }>;
}

const encoder = new TextEncoder();

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
      const contribution = { cells, offset: message.offset };
      if (row.first === undefined) row.first = contribution;
      else row.more = [...(row.more ?? []), contribution];
      recorder.rows.set(message.row, { table, row, contribution });
    }
  }

  #rowOf(table: StoredTable, text: string): StoredRow {
    const found = table.byLabels.get(text);
    if (found) return found;
    const row: StoredRow = {
      labels: encoder.encode(text),
      text,
      mask: 0,
      first: undefined,
      more: undefined,
      base: undefined,
      index: table.rows.length,
    };
    table.rows.push(row);
    table.byLabels.set(text, row);
    return row;
  }

  /** Handles the end of a row in one recorder: its value stays in the sum while another recorder counts there. */
  #drop(recorder: Recorder, id: number): void {
    const entry = recorder.rows.get(id);
    if (entry === undefined) return;
    recorder.rows.delete(id);
    const { table, row } = entry;
    this.#fold(entry);
    if (row.first !== undefined) return;
    table.byLabels.delete(row.text);
    const last = table.rows.pop();
    if (last !== undefined && last !== row) {
      table.rows[row.index] = last;
      last.index = row.index;
    }
  }

  #fold({
    table,
    row,
    contribution,
  }: {
    table: StoredTable;
    row: StoredRow;
    contribution: Contribution;
  }): void {
    const width = rowWidth(table.spec);
    row.base ??= new Float64Array(width);
    for (let cell = 0; cell < width; cell++) {
      row.base[cell] = (row.base[cell] ?? 0) + (contribution.cells[contribution.offset + cell] ?? 0);
    }
    const left = [row.first, ...(row.more ?? [])].filter((other) => other && other !== contribution);
    row.first = left[0];
    row.more = left.length > 1 ? (left.slice(1) as Contribution[]) : undefined;
  }

  /** Handles the end of a thread: its counters stay, its gauges are removed. */
  #orphan(recorder: Recorder): void {
    this.#recorders.delete(recorder);
    for (const entry of recorder.rows.values()) {
      this.#fold(entry);
      if (entry.table.name === 'sockets') entry.row.base?.fill(0);
    }
    recorder.rows.clear();
  }
}

/** Returns the sum of one cell over all recorders. */
export function cellOf(row: StoredRow, cell: number): number {
  let value = row.base === undefined ? 0 : (row.base[cell] ?? 0);
  if (row.first !== undefined) value += row.first.cells[row.first.offset + cell] ?? 0;
  if (row.more !== undefined) {
    for (const { cells, offset } of row.more) value += cells[offset + cell] ?? 0;
  }
  return value;
}
