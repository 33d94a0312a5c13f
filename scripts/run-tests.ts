/**
 * Runs the test files of one kind with Node's test runner: `unit` are the packages' own, `e2e` are those under
 * `test/`, `long` are too long for every run. `paths` are the suites of real daemons that do not choose a path
 * themselves: they run twice, with the kernel path off and on. `binary` is the conformance suite against `dist/kmesh`
 * instead of the sources (`npm run build:binary`). Further arguments are kept as filters on the file path:
 * `npm run test:unit -- tunnel`. The seconds of each file are kept in `build/test-durations.json`, the slowest are printed.
 */
import { spawnSync } from 'node:child_process';
import { existsSync, globSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { resolve } from 'node:path';

const patterns: Record<string, readonly string[]> = {
  unit: ['packages/*/test/**/*.test.ts'],
  e2e: ['test/**/*.test.ts'],
  paths: ['test/conformance/namespaced*.test.ts', 'test/differential/*.test.ts'],
  binary: ['test/conformance/**/*.test.ts', 'test/observability/kmeshctl.test.ts'],
  long: ['test/long/*.ts'],
};

const [kind = '', ...filters] = process.argv.slice(2);
const globs = patterns[kind];
if (globs === undefined) {
  console.error(`run-tests: unknown kind "${kind}"; one of: ${Object.keys(patterns).join(', ')}`);
  process.exit(2);
}
if (kind === 'binary') {
  process.env['KMESH_BINARY'] ??= resolve('dist/kmesh');
  if (!existsSync(process.env['KMESH_BINARY'])) {
    console.error(
      `run-tests: ${process.env['KMESH_BINARY']} is not there; build it with "npm run build:binary"`,
    );
    process.exit(2);
  }
}
const files = globs
  .flatMap((pattern) => globSync(pattern))
  .filter((file) => filters.length === 0 || filters.some((filter) => file.includes(filter)))
  .sort();
if (files.length === 0) {
  console.error(`run-tests: no ${kind} test matches ${filters.join(', ') || 'anything'}`);
  process.exit(1);
}
// Tests across packages share the machine's kernel hooks and count its events: one file at a time.
const concurrency = kind === 'unit' ? availableParallelism() : 1;
const timeout = kind === 'long' ? 3_600_000 : 300_000;
// A file that does not end is ended by the time limit above; this is for a run that as a whole does not.
const limit = { unit: 600_000, e2e: 2_400_000 }[kind];
const modes = kind === 'paths' ? ['off', 'on'] : [undefined];
let status = 0;
for (const mode of modes) {
  if (mode !== undefined) console.log(`\n== kernel path ${mode}`);
  const result = spawnSync(
    process.execPath,
    [
      '--test',
      `--test-concurrency=${concurrency}`,
      '--test-reporter=spec',
      '--test-reporter-destination=stdout',
      '--test-reporter=./scripts/report-durations.ts',
      '--test-reporter-destination=stdout',
      `--test-timeout=${timeout}`,
      ...files,
    ],
    {
      stdio: 'inherit',
      ...(limit === undefined ? {} : { timeout: limit }),
      env: mode === undefined ? process.env : { ...process.env, KMESH_TEST_KERNEL_PATH: mode },
    },
  );
  if (result.error !== undefined) console.error(`run-tests: ${result.error.message}`);
  status ||= result.status ?? 1;
}
process.exit(status);
