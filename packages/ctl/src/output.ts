import { stringify } from 'yaml';
import { type Column, renderTable } from './table.ts';

/** The formats of `-o`. */
export const outputFormats = ['short', 'wide', 'json', 'yaml'] as const;
export type OutputFormat = (typeof outputFormats)[number];

/** A list of things as text in the format asked for: a table, or the objects themselves. */
export function renderList<Row>(
  format: OutputFormat,
  columns: readonly Column<Row>[],
  rows: readonly Row[],
): string {
  return format === 'short' || format === 'wide'
    ? renderTable(columns, rows, format === 'wide')
    : renderObject(format, rows);
}

/** One value as JSON or YAML. */
export function renderObject(format: 'json' | 'yaml', value: unknown): string {
  return format === 'json' ? `${JSON.stringify(value, null, 2)}\n` : stringify(value);
}
