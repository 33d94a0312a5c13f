import { stringify } from 'yaml';

/** The formats of `-o`. */
export const outputFormats = ['short', 'wide', 'json', 'yaml'] as const;
export type OutputFormat = (typeof outputFormats)[number];

/** Renders a list in the requested format: a table, or the objects. */
export function renderList<Row>(
  format: OutputFormat,
  columns: readonly Column<Row>[],
  rows: readonly Row[],
): string {
  return format === 'short' || format === 'wide'
    ? renderTable(columns, rows, format === 'wide')
    : renderObject(format, rows);
}

/** Renders one value as JSON or YAML. */
export function renderObject(format: 'json' | 'yaml', value: unknown): string {
  return format === 'json' ? `${JSON.stringify(value, null, 2)}\n` : stringify(value);
}

/** A column of a table: its heading and the cell of a row. Columns marked `wide` show only with `-o wide`. */
export interface Column<Row> {
  readonly heading: string;
  readonly cell: (row: Row) => string | number | undefined;
  readonly wide?: boolean;
}

/** Renders rows under upper-case headings, columns padded to their widest cell; an empty cell is `-`. */
export function renderTable<Row>(
  columns: readonly Column<Row>[],
  rows: readonly Row[],
  wide = false,
): string {
  const shown = columns.filter((column) => wide || !column.wide);
  const cells = [
    shown.map((column) => column.heading.toUpperCase()),
    ...rows.map((row) => shown.map((column) => cellText(column.cell(row)))),
  ];
  const widths = shown.map((_, index) => Math.max(...cells.map((line) => line[index]?.length ?? 0)));
  return cells
    .map((line) =>
      line
        .map((cell, index) => cell.padEnd(widths[index] ?? 0))
        .join('   ')
        .trimEnd(),
    )
    .join('\n')
    .concat('\n');
}

function cellText(value: string | number | undefined): string {
  return value === undefined || value === '' ? '-' : String(value);
}

const byteUnits = ['B', 'KiB', 'MiB', 'GiB', 'TiB'];

/** Formats bytes: `0 B`, `1.5 KiB`. */
export function byteText(bytes: number): string {
  let value = bytes;
  let unit = 0;
  while (value >= 1024 && unit < byteUnits.length - 1) {
    value /= 1024;
    unit++;
  }
  return `${unit === 0 ? Math.round(value) : value.toFixed(1)} ${byteUnits[unit]}`;
}

/** Formats bytes per second; empty below 1. */
export function byteRate(bytesPerSecond: number): string {
  return bytesPerSecond < 1 ? '' : `${byteText(bytesPerSecond)}/s`;
}

/** Formats seconds: `4s`, `2m30s`, `5h12m`, `3d4h`. */
export function durationText(seconds: number): string {
  const whole = Math.floor(seconds);
  const parts: readonly [number, string][] = [
    [Math.floor(whole / 86_400), 'd'],
    [Math.floor(whole / 3_600) % 24, 'h'],
    [Math.floor(whole / 60) % 60, 'm'],
    [whole % 60, 's'],
  ];
  const first = parts.findIndex(([count]) => count > 0);
  if (first === -1) return '0s';
  return parts
    .slice(first, first + 2)
    .filter(([count], index) => index === 0 || count > 0)
    .map(([count, unit]) => `${count}${unit}`)
    .join('');
}
