/**
 * Runs the test files of one kind with Node's test runner: `unit` are the packages' own, `e2e` are those under
 * `test/`. Further arguments are kept as filters on the file path: `npm run test:unit -- tunnel`.
 */
import { spawnSync } from 'node:child_process';
import { globSync } from 'node:fs';
import { availableParallelism } from 'node:os';

const patterns: Record<string, readonly string[]> = {
  unit: ['packages/*/test/**/*.test.ts'],
  e2e: ['test/**/*.test.ts'],
};

const [kind = '', ...filters] = process.argv.slice(2);
const globs = patterns[kind];
if (globs === undefined) {
  console.error(`run-tests: unknown kind "${kind}"; one of: ${Object.keys(patterns).join(', ')}`);
  process.exit(2);
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
const concurrency = kind === 'e2e' ? 1 : availableParallelism();
const result = spawnSync(
  process.execPath,
  [
    '--test',
    `--test-concurrency=${concurrency}`,
    '--test-reporter=spec',
    '--test-timeout=300000',
    '--test-force-exit',
    ...files,
  ],
  { stdio: 'inherit' },
);
process.exit(result.status ?? 1);
