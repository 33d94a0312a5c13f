import { execFileSync } from 'node:child_process';
import { mkdirSync, writeFileSync } from 'node:fs';
import { cpus, release } from 'node:os';
import { fileURLToPath } from 'node:url';

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
  readonly value: number;
  /** The highest value that is good, or with `atLeast` the lowest. */
  readonly bound: number;
  readonly ok: boolean;
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

/** The machine and the code that a report is about. */
export function environment(): Record<string, string | number> {
  const processors = cpus();
  return {
    kernel: release(),
    cpu: processors[0]?.model ?? 'unknown',
    cores: processors.length,
    node: process.version,
    commit: commit(),
    date: new Date().toISOString(),
  };
}

/** The figure of several rounds. */
export function figure(name: string, contestant: string, unit: string, rounds: readonly number[]): Figure {
  const sorted = rounds.toSorted((left, right) => left - right);
  const middle = sorted.length >> 1;
  const median =
    sorted.length % 2 === 1 ? at(sorted, middle) : (at(sorted, middle - 1) + at(sorted, middle)) / 2;
  return {
    name,
    contestant,
    value: round(median),
    unit,
    spread: [round(at(sorted, 0)), round(at(sorted, -1))],
  };
}

/** A value that must not be above `bound`. */
export function atMost(name: string, value: number, bound: number): Ratio {
  return { name, value: round(value), bound, ok: value <= bound };
}

/** A value that must not be below `bound`. */
export function atLeast(name: string, value: number, bound: number): Ratio {
  return { name, value: round(value), bound, ok: value >= bound };
}

/** Prints the tables, and with `json` the report as the last line. */
export function printReport(report: Report, json: boolean): void {
  console.log(`${report.suite}: ${Object.values(report.environment).join(', ')}`);
  const figures = report.figures.map(({ name, contestant, value, unit, spread }) => [
    name,
    contestant,
    `${value} ${unit}`,
    `${spread[0]} … ${spread[1]}`,
  ]);
  printTable(['figure', 'contestant', 'median', 'spread'], figures);
  const ratios = report.ratios.map(({ name, value, bound, ok }) => [
    name,
    `${value}`,
    `${bound}`,
    ok ? 'yes' : 'NO',
  ]);
  printTable(['ratio', 'value', 'bound', 'holds'], ratios);
  if (json) console.log(JSON.stringify(report));
}

/** Keeps the report in bench/results. */
export function storeReport(report: Report): void {
  const directory = fileURLToPath(new URL('results/', import.meta.url));
  mkdirSync(directory, { recursive: true });
  writeFileSync(`${directory}${report.suite}.json`, `${JSON.stringify(report, undefined, 2)}\n`);
}

function printTable(header: readonly string[], rows: readonly (readonly string[])[]): void {
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

function at(values: readonly number[], index: number): number {
  return values.at(index) ?? Number.NaN;
}

function round(value: number): number {
  return Number(value.toPrecision(4));
}

function commit(): string {
  try {
    return execFileSync('git', ['rev-parse', '--short', 'HEAD'], { encoding: 'utf8', stdio: 'pipe' }).trim();
  } catch {
    return 'unknown';
  }
}
