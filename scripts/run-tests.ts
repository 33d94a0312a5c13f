/**
 * Runs the test files of one kind with Node's test runner: `unit` are the packages' own and the benchmarks', `e2e` are those under
 * `test/`, `long` are too long for every run; with them go those of `test/` that repeat less in every run. `paths` are
 * the suites of real daemons that do not choose a path themselves: they run twice, with the kernel path off and on.
 * `binary` is the conformance suite against `dist/kmesh` instead of the sources (`npm run build:binary`). Further
 * arguments are kept as filters on the file path: `npm run test:unit -- tunnel`. The seconds of each file are kept in
 * `build/test-durations.json`, the slowest are printed.
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, globSync, readFileSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { resolve } from 'node:path';

const patterns: Record<string, readonly string[]> = {
  unit: [
    'packages/*/test/**/*.test.ts',
    'bench/test/*.test.ts',
    'istio-integration/cluster/test/**/*.test.ts',
  ],
  e2e: ['test/**/*.test.ts'],
  paths: ['test/conformance/namespaced*.test.ts', 'test/differential/*.test.ts'],
  binary: [
    'test/conformance/**/*.test.ts',
    'test/observability/kmeshctl.test.ts',
    'test/long/reproducible.ts',
  ],
  long: ['test/long/*.ts'],
};
/** Suites of real daemons that do not choose a path themselves: a run of all `e2e` files has these once more, on the kernel path. */
const onBothPaths = ['namespaced', 'namespaced-ports', 'namespaced-waypoints', 'namespaced-security'].map(
  (name) => `test/conformance/${name}.test.ts`,
);

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
/** Files of `test/` whose repetitions are fewer in a run of all. */
const repeating = (): string[] =>
  globSync(patterns['e2e'] ?? []).filter((file) => readFileSync(file, 'utf8').includes('repetitions({'));
if (kind === 'long') process.env['KMESH_TEST_LONG'] ??= '1';
const files = [...globs.flatMap((pattern) => globSync(pattern)), ...(kind === 'long' ? repeating() : [])]
  .filter((file) => filters.length === 0 || filters.some((filter) => file.includes(filter)))
  .sort();
if (files.length === 0) {
  console.error(`run-tests: no ${kind} test matches ${filters.join(', ') || 'anything'}`);
  process.exit(1);
}
const timeout = kind === 'long' ? 3_600_000 : 300_000;
// A file that does not end is ended by the time limit above; this is for a run that as a whole does not.
const limit = { unit: 600_000, e2e: 2_400_000 }[kind];
// Starting a daemon from its sources is cheap once their compiled code is kept.
process.env['NODE_COMPILE_CACHE'] ??= resolve('build/compile-cache');

/** Runs files, as many at a time as `concurrency` says. `held` keeps the output back until the end. */
async function run(
  paths: readonly string[],
  concurrency: number,
  options: { readonly held?: boolean; readonly kernelPath?: string } = {},
): Promise<number> {
  if (paths.length === 0) return 0;
  const child = spawn(
    process.execPath,
    [
      '--test',
      `--test-concurrency=${concurrency}`,
      '--test-reporter=spec',
      '--test-reporter-destination=stdout',
      '--test-reporter=./scripts/report-durations.ts',
      '--test-reporter-destination=stdout',
      `--test-timeout=${timeout}`,
      ...paths,
    ],
    {
      stdio: ['inherit', options.held ? 'pipe' : 'inherit', 'inherit'],
      ...(limit === undefined ? {} : { timeout: limit }),
      env:
        options.kernelPath === undefined
          ? process.env
          : { ...process.env, KMESH_TEST_KERNEL_PATH: options.kernelPath },
    },
  );
  const output: Buffer[] = [];
  child.stdout?.on('data', (bytes: Buffer) => output.push(bytes));
  const [status] = (await once(child, 'close')) as [number | null];
  process.stdout.write(Buffer.concat(output));
  return status ?? 1;
}

/**
 * Tests across packages run in two lanes, one file at a time in each: those of these folders attach to the machine's
 * kernel hooks, change them and count what they see, so they never run beside one another.
 */
const kernelHooks = ['differential', 'kernel-path', 'security', 'upgrade', 'vm'];
const ofKernelHooks = (file: string): boolean => kernelHooks.includes(file.split('/')[1] ?? '');

async function runAll(): Promise<number> {
  if (kind === 'unit') return await run(files, availableParallelism());
  if (kind === 'paths') {
    let status = 0;
    for (const kernelPath of ['off', 'on']) {
      console.log(`\n== kernel path ${kernelPath}`);
      status ||= await run(files, 1, { kernelPath });
    }
    return status;
  }
  if (kind !== 'e2e') return await run(files, 1);
  const others = async (): Promise<number> => {
    const status = await run(
      files.filter((file) => !ofKernelHooks(file)),
      1,
    );
    if (filters.length > 0) return status;
    console.log('\n== the same on the kernel path');
    return Math.max(status, await run(onBothPaths, 1, { kernelPath: 'on' }));
  };
  const statuses = await Promise.all([
    others(),
    run(files.filter(ofKernelHooks), 1, { held: files.some((file) => !ofKernelHooks(file)) }),
  ]);
  return Math.max(...statuses);
}

process.exitCode = await runAll();
