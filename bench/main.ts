/**
 * Runs benchmarks: `npm run bench -- [SUITE…] [--quick] [--json] [--store] [--compare REV]`, `… report`, `… guard`. Prints
 * tables; with `--json` the last lines of standard output are one JSON object for each suite; with `--store` those are kept in
 * bench/results/<suite>.json. The exit code is not 0 when a bound does not hold.
 */
import { compareRevisions } from './harness/compare.ts';
import { type BenchOptions, readOptions } from './harness/options.ts';
import { runSuites } from './harness/run.ts';
import { writeReport } from './page/write.ts';

let options: BenchOptions;
try {
  options = readOptions(process.argv.slice(2));
} catch (error) {
  console.error((error as Error).message);
  process.exit(2);
}

if (options.task === 'report') {
  for (const path of writeReport()) console.log(path);
} else if (options.compare !== undefined) {
  const report = await compareRevisions({ ...options, revision: options.compare });
  if (options.json) console.log(JSON.stringify(report));
} else {
  const { reports, failed, interrupted } = await runSuites(options);
  if (options.json) for (const report of reports) console.log(JSON.stringify(report));
  const holds = reports.every(({ ratios }) => ratios.every(({ ok }) => ok));
  process.exitCode = interrupted ? 130 : holds && failed.length === 0 ? 0 : 1;
}
