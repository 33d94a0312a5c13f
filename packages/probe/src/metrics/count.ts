import type { MetricRow } from './recorder.ts';

/** Adds to one cell of a row. */
export function add(row: MetricRow, cell: number, count: number): void {
  const position = row.offset + cell;
  row.cells[position] = (row.cells[position] as number) + count;
  row.touched = true;
}

/**
 * Counts one observation of a histogram in the bucket that holds it and in the sum; the exposition adds the buckets up.
 *
 * @param first cell of the histogram's first bucket
 */
export function observe(row: MetricRow, bounds: readonly number[], value: number, first = 0): void {
  let bucket = 0;
  while (bucket < bounds.length && value > (bounds[bucket] as number)) bucket++;
  add(row, first + bucket, 1);
  add(row, first + bounds.length + 1, value);
}
