import type { CheckReport, CheckRow } from '../check/check.ts';
import type { HookProgram } from '../check/hooks.ts';
import { type OutputFormat, renderObject } from '../output.ts';
import { type Column, renderTable } from '../table.ts';

const rowColumns: readonly Column<CheckRow>[] = [
  { heading: 'state', cell: (row) => row.state },
  { heading: 'area', cell: (row) => row.area },
  { heading: 'name', cell: (row) => row.name },
  { heading: 'detail', cell: (row) => row.detail },
];

const programColumns: readonly Column<HookProgram & { readonly place: number }>[] = [
  { heading: 'hook', cell: (program) => program.hook },
  { heading: 'runs', cell: (program) => program.place },
  { heading: 'program', cell: (program) => program.name || `id ${program.id}` },
  { heading: 'of', cell: (program) => program.owner },
  { heading: 'cgroup', cell: (program) => program.cgroup },
];

/** Text of `kmeshctl check`: what is wrong first, and all rows with `-o wide`. */
export function check(report: CheckReport, format: OutputFormat): string {
  if (format === 'json' || format === 'yaml') return renderObject(format, report);
  const order = ['problem', 'warning', 'ok'];
  const rows = [...report.rows].sort((left, right) => order.indexOf(left.state) - order.indexOf(right.state));
  const shown = rows.filter(
    ({ state, area }) => format === 'wide' || state !== 'ok' || area !== 'capability',
  );
  const fine = rows.length - shown.length;
  return (
    renderTable(rowColumns, shown) +
    (fine > 0 ? `${fine} capabilities are there; -o wide lists them.\n` : '') +
    (report.programs.length === 0 ? '' : `\n${renderTable(programColumns, withPlaces(report.programs))}`)
  );
}

/** Whether something keeps Kmesh from working as it should. */
export function hasProblem(report: CheckReport): boolean {
  return report.rows.some(({ state }) => state === 'problem');
}

function withPlaces(programs: readonly HookProgram[]): (HookProgram & { place: number })[] {
  const places = new Map<string, number>();
  return programs.map((program) => {
    const place = (places.get(program.hook) ?? 0) + 1;
    places.set(program.hook, place);
    return { ...program, place };
  });
}
