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
