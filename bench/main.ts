/**
 * Runs a benchmark: `npm run bench -- <suite> [--json] [--store]`. Prints a table; with `--json` the last line of
 * standard output is one JSON object; with `--store` that object is kept in bench/results/<suite>.json. The exit code is
 * not 0 when a bound does not hold.
 */
import { existsSync } from 'node:fs';
import { printReport, type Suite, storeReport } from './report.ts';

const [name = '', ...flags] = process.argv.slice(2);
const known = new Set(['--json', '--store']);
const unknown = flags.filter((flag) => !known.has(flag));
const module = new URL(`./${name}.ts`, import.meta.url);
if (
  !/^[a-z-]+$/.test(name) ||
  ['main', 'report'].includes(name) ||
  !existsSync(module) ||
  unknown.length > 0
) {
  console.error(
    'usage: npm run bench -- <suite> [--json] [--store]; suites: hook and every other bench/<suite>.ts',
  );
  process.exit(2);
}
const { suite }: { suite: Suite } = await import(module.href);
const report = await suite();
printReport(report, flags.includes('--json'));
if (flags.includes('--store')) storeReport(report);
process.exitCode = report.ratios.every(({ ok }) => ok) ? 0 : 1;
