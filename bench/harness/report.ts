import { execFileSync } from 'node:child_process';
import { mkdirSync, writeFileSync } from 'node:fs';
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

/** A figure divided by its baseline of the same run, or a figure that has a bound of its own. */
export interface Ratio {
  readonly name: string;
  /** `null`: the run cannot say. */
  readonly value: number | null;
  /** The lowest and the highest of the rounds, where a ratio is taken in each. */
  readonly spread?: readonly [number, number];
  readonly bound: number;
  /** Whether the bound is the highest value that is good, or the lowest. */
  readonly kind: 'atMost' | 'atLeast';
  readonly ok: boolean;
  /** Why there is no value, or what it means when the bound does not hold. */
  readonly because?: string;
}

/** What a suite found. */
export interface Report {
  readonly suite: string;
  readonly environment: Readonly<Record<string, string | number>>;
  readonly figures: readonly Figure[];
  readonly ratios: readonly Ratio[];
}

/** What `bench/<suite>.ts` exports. */
export type Suite = () => Promise<Report>;

/** The machine and the code that a report is about, and the settings of the run that are not the suite's own. */
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

/** The figure of several rounds. */
export function figure(name: string, contestant: string, unit: string, rounds: readonly number[]): Figure {
  const [lowest, highest] = [Math.min(...rounds), Math.max(...rounds)];
  const spread = [significant(lowest), significant(highest)] as const;
  return { name, contestant, value: significant(median(rounds)), unit, spread };
}

/** The middle one, or the mean of the two in the middle. */
export function median(values: readonly number[]): number {
  const sorted = values.toSorted((left, right) => left - right);
  const [low, high] = [sorted[(sorted.length - 1) >> 1], sorted[sorted.length >> 1]];
  return ((low ?? Number.NaN) + (high ?? Number.NaN)) / 2;
}

/** A value that must not be above `bound`. */
export function atMost(name: string, value: number, bound: number): Ratio {
  return { name, value: significant(value), bound, kind: 'atMost', ok: value <= bound };
}

/** A value that must not be below `bound`. */
export function atLeast(name: string, value: number, bound: number): Ratio {
  return { name, value: significant(value), bound, kind: 'atLeast', ok: value >= bound };
}

/** Four digits: no figure is known better. */
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

/** Keeps the report in bench/results. */
export function storeReport(report: Report): void {
  const directory = fileURLToPath(new URL('../results/', import.meta.url));
  mkdirSync(directory, { recursive: true });
  writeFileSync(`${directory}${report.suite}.json`, `${JSON.stringify(report, undefined, 2)}\n`);
}

/** Prints rows below their titles, each column as wide as it must be. Rows without any are not printed. */
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

/** The commit, marked where the tree has changes that none has. */
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
