import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { cpus, release } from 'node:os';
import { fileURLToPath } from 'node:url';
import { quick } from './settings.ts';

/** One measured figure: the median, and the lowest and highest of the rounds. */
export interface Figure {
  readonly name: string;
  readonly contestant: string;
  readonly value: number;
  readonly unit: string;
  readonly spread: readonly [number, number];
}

/** A figure divided by its baseline of the same run, or a figure with a bound. */
export interface Ratio {
  readonly name: string;
  /** `null` if the run gives no valid value. */
  readonly value: number | null;
  /** The lowest and highest ratio of the rounds, if taken per round. */
  readonly spread?: readonly [number, number];
  readonly bound: number;
  /** Whether the bound is a maximum or a minimum. */
  readonly kind: 'atMost' | 'atLeast';
  readonly ok: boolean;
  /** Why there is no value, or the meaning of a failed bound. */
  readonly because?: string;
}

/** Results of a suite. */
export interface Report {
  readonly suite: string;
  readonly environment: Readonly<Record<string, string | number>>;
  readonly figures: readonly Figure[];
  readonly ratios: readonly Ratio[];
  /** The stored run that this one replaced, if it was of the same kernel and processor: the values of its ratios. */
  readonly before?: EarlierRun;
}

/** A run whose ratios show whether those of a later one are repeatable. */
export interface EarlierRun {
  readonly commit: string | number;
  readonly date: string | number;
  readonly ratios: Readonly<Record<string, number>>;
}

/** What `bench/<suite>.ts` exports. */
export type Suite = () => Promise<Report>;

/** Returns the machine and revision of a report, and the settings of the run that are not specific to the suite. */
export function environment(
  settings: Readonly<Record<string, string | number>> = {},
): Record<string, string | number> {
  const processors = cpus();
  return {
    kernel: release(),
    cpu: processors[0]?.model ?? 'unknown',
    cores: processors.length,
    node: process.version,
    commit: commit(),
    date: new Date().toISOString(),
    ...(quick ? { quick: 'yes' } : {}),
    ...settings,
  };
}

/** Returns the figure over several rounds. */
export function figure(name: string, contestant: string, unit: string, rounds: readonly number[]): Figure {
  const [lowest, highest] = [Math.min(...rounds), Math.max(...rounds)];
  const spread = [significant(lowest), significant(highest)] as const;
  return { name, contestant, value: significant(median(rounds)), unit, spread };
}

/** Returns the median. */
export function median(values: readonly number[]): number {
  const sorted = values.toSorted((left, right) => left - right);
  const [low, high] = [sorted[(sorted.length - 1) >> 1], sorted[sorted.length >> 1]];
  return ((low ?? Number.NaN) + (high ?? Number.NaN)) / 2;
}

/** Returns a ratio that must not exceed `bound`. */
export function atMost(name: string, value: number, bound: number): Ratio {
  return { name, value: significant(value), bound, kind: 'atMost', ok: value <= bound };
}

/** Returns a ratio that must not be below `bound`. */
export function atLeast(name: string, value: number, bound: number): Ratio {
  return { name, value: significant(value), bound, kind: 'atLeast', ok: value >= bound };
}

/** Rounds to four digits, the precision of the figures. */
export function significant(value: number): number {
  return Number(value.toPrecision(4));
}

/** Prints the tables. */
export function printReport(report: Report): void {
  console.log(`${report.suite}: ${Object.values(report.environment).join(', ')}`);
  const figures = report.figures.map(({ name, contestant, value, unit, spread }) => [
    name,
    contestant,
    `${value} ${unit}`,
    `${spread[0]} … ${spread[1]}`,
  ]);
  printTable(['figure', 'contestant', 'median', 'spread'], figures);
  const ratios = report.ratios.map(({ name, value, spread, bound, kind, ok, because }) => [
    name,
    value === null ? `none: ${because}` : `${value}`,
    spread === undefined ? '' : `${spread[0]} … ${spread[1]}`,
    `${kind === 'atMost' ? '≤' : '≥'} ${bound}`,
    ok ? 'yes' : 'NO',
  ]);
  printTable(['ratio', 'value', 'spread', 'bound', 'holds'], ratios);
  for (const { name, value, ok, because } of report.ratios)
    if (!ok && value !== null && because !== undefined) console.log(`\n${name}: ${because}`);
}

/** Stores the report in bench/results, with the ratios of the run that it replaces. */
export function storeReport(report: Report): void {
  const directory = fileURLToPath(new URL('../results/', import.meta.url));
  mkdirSync(directory, { recursive: true });
  const file = `${directory}${report.suite}.json`;
  const earlier = existsSync(file) ? (JSON.parse(readFileSync(file, 'utf8')) as Report) : undefined;
  writeFileSync(file, `${JSON.stringify({ ...report, ...repeated(report, earlier) }, undefined, 2)}\n`);
}

/** Returns the part of a report about an earlier run, if that is of the same kernel and processor. */
export function repeated(report: Report, earlier: Report | undefined): Pick<Report, 'before'> {
  const same = ['kernel', 'cpu', 'cores'].every(
    (name) => earlier?.environment[name] === report.environment[name],
  );
  if (earlier === undefined || !same) return {};
  const { commit = 'unknown', date = 'unknown' } = earlier.environment;
  const ratios = Object.fromEntries(
    earlier.ratios.flatMap(({ name, value }) => (value === null ? [] : [[name, value]])),
  );
  return { before: { commit, date, ratios } };
}

/** Prints a table with aligned columns; nothing if it has no rows. */
export function printTable(header: readonly string[], rows: readonly (readonly string[])[]): void {
  if (rows.length === 0) return;
  const widths = header.map((title, column) =>
    Math.max(title.length, ...rows.map((row) => (row[column] ?? '').length)),
  );
  console.log('');
  for (const row of [header, ...rows]) {
    console.log(
      row
        .map((cell, column) => cell.padEnd(widths[column] ?? 0))
        .join('  ')
        .trimEnd(),
    );
  }
}

/** Returns the commit, marked if the tree has uncommitted changes. */
function commit(): string {
  try {
    const git = (...words: string[]) =>
      execFileSync('git', words, {
        cwd: fileURLToPath(new URL('.', import.meta.url)),
        encoding: 'utf8',
        stdio: 'pipe',
      }).trim();
    const changed = git('status', '--porcelain', '--untracked-files=no', '--', ':/', ':!/bench/results');
    return `${git('rev-parse', '--short', 'HEAD')}${changed === '' ? '' : ' with changes'}`;
  } catch {
    return 'unknown';
  }
}
