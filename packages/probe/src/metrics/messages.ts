import type { MessagePort } from 'node:worker_threads';
import type { FamilyMask, TableName } from './tables.ts';

/**
 * Messages from a recorder to the scrape thread. Values are not sent: they are read in shared memory, where they are
 * counted. Only creation and end of a row are messages.
 */
export type RecorderMessage =
  | { readonly kind: 'segment'; readonly cells: Float64Array }
  | {
      readonly kind: 'row';
      readonly row: number;
      readonly table: TableName;
      readonly mask: FamilyMask;
      readonly labels: string;
      readonly segment: number;
      readonly offset: number;
    }
  | { readonly kind: 'release'; readonly row: number };

/** The scrape thread's answer to `release`: the final value is read, the cells may be reused. */
export interface ReleasedMessage {
  readonly released: number;
}

/** Shared by all recorders of a process: current, allowed and refused series. */
export interface SeriesBudget {
  /** [current series, allowed series, total refused], changed with Atomics. */
  readonly counters: BigInt64Array;
}

/** Creates a budget in shared memory; `maximumSeries` counts lines of the exposition. */
export function createSeriesBudget(maximumSeries: number): SeriesBudget {
  const counters = new BigInt64Array(new SharedArrayBuffer(24));
  counters[1] = BigInt(maximumSeries);
  return { counters };
}

/** Reserves `lines` series; returns false (and counts the refusal) when there is no room. */
export function takeSeries(budget: SeriesBudget, lines: number): boolean {
  const before = Atomics.add(budget.counters, 0, BigInt(lines));
  if (before + BigInt(lines) <= (budget.counters[1] ?? 0n)) return true;
  Atomics.sub(budget.counters, 0, BigInt(lines));
  Atomics.add(budget.counters, 2, 1n);
  return false;
}

export function returnSeries(budget: SeriesBudget, lines: number): void {
  Atomics.sub(budget.counters, 0, BigInt(lines));
}

/** What the control thread and the scrape thread say to each other. */
export interface ScrapeWorkerData {
  readonly host: string;
  readonly port: number;
  readonly reusePort: boolean;
  readonly budget: SeriesBudget;
  readonly droppedLines: BigInt64Array;
}

export type ToWorker =
  | { readonly kind: 'recorder'; readonly port: MessagePort }
  | { readonly kind: 'collected'; readonly question: number; readonly text: string }
  | { readonly kind: 'close'; readonly deadlineMilliseconds: number };

export type ToMain =
  | { readonly kind: 'listening'; readonly port: number; readonly address: string }
  | { readonly kind: 'failed'; readonly reason: string; readonly code: string | undefined }
  | { readonly kind: 'collect'; readonly question: number };
