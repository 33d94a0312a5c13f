/**
 * Runs the test files of one kind with Node's test runner: `unit` are the packages' own and the benchmarks', `e2e` are
 * those under `test/`, `long` are too long for every run; with them go those of `test/` that repeat less in every run.
 * `paths` are the suites of real daemons that do not choose a path themselves: they run twice, with the kernel path off
 * and on. `binary` is the conformance suite against `dist/kmesh` instead of the sources (`npm run build:binary`).
 * Further arguments are kept as filters on the file path: `npm run test:unit -- tunnel`. The seconds of each file are
 * kept in `build/test-durations.json`, the slowest are printed.
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, globSync, readFileSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { resolve } from 'node:path';
import { keep, slowest } from './durations.ts';

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
/**
 * Suites of real daemons that do not choose a path themselves: a run of all `e2e` files has these once more, on the
 * kernel path.
 */
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
// The limit above ends a file that hangs; this one ends a whole run.
const limit = { unit: 600_000, e2e: 2_400_000 }[kind];
// Starting a daemon from its sources is cheap once the compiled code is cached.
process.env['NODE_COMPILE_CACHE'] ??= resolve('build/compile-cache');

/** Files to be run by one runner, as many at a time as `concurrency` says. */
interface Run {
  readonly files: readonly string[];
  readonly concurrency?: number;
  /** `KMESH_TEST_KERNEL_PATH`. */
  readonly kernelPath?: string | undefined;
  /** Its output is printed at once, at its end. */
  readonly held?: boolean;
}

async function run({ files, concurrency = 1, kernelPath, held = false }: Run): Promise<number> {
  if (files.length === 0) return 0;
  const child = spawn(
    process.execPath,
    [
      '--test',
      `--test-concurrency=${concurrency}`,
      '--test-reporter=spec',
      '--test-reporter-destination=stdout',
      // For one file among others, the runner of all of them measures the time.
      ...(held
        ? []
        : ['--test-reporter=./scripts/report-durations.ts', '--test-reporter-destination=stdout']),
      `--test-timeout=${timeout}`,
      ...files,
    ],
    {
      stdio: ['inherit', held ? 'pipe' : 'inherit', 'inherit'],
      ...(held ? { timeout: 2 * timeout } : limit === undefined ? {} : { timeout: limit }),
      env: kernelPath === undefined ? process.env : { ...process.env, KMESH_TEST_KERNEL_PATH: kernelPath },
    },
  );
  const output: Buffer[] = [];
  child.stdout?.on('data', (bytes: Buffer) => output.push(bytes));
  const [status] = (await once(child, 'close')) as [number | null];
  const text = Buffer.concat(output).toString();
  if (held) process.stdout.write(`\n== ${nameOf({ files, kernelPath })}\n${text}`);
  if (held && status !== 0) failures.set(nameOf({ files, kernelPath }), failuresOf(text));
  return status ?? 1;
}

/** Failures by file, repeated at the end of the output so that the end of a long log shows them. */
const failures = new Map<string, string>();
const longestFailure = 3_000;

/** The runner's list of failing tests; the end of the output of a file that did not get that far. */
function failuresOf(output: string): string {
  const at = output.lastIndexOf('failing tests:');
  return at < 0 ? output.slice(-longestFailure) : output.slice(at, at + longestFailure);
}

function nameOf({ files, kernelPath }: Pick<Run, 'files' | 'kernelPath'>): string {
  return `${files.join(' ')}${kernelPath === undefined ? '' : `, kernel path ${kernelPath}`}`;
}

/**
 * Files that never run concurrently: they attach to hooks of the whole machine, where each would see the others'
 * sockets and `kmeshctl check` the others' programs, or they build into `dist/`. Files that attach to a lab's cgroup run
 * beside any other.
 */
const isAlone = ({ files: [file = ''] }: Run): boolean =>
  file.startsWith('test/install/') ||
  /\b(startKernelPath|findCgroupMount|enableProgramStatistics)\b/.test(readFileSync(file, 'utf8'));

/** The slowest, which start first: started last, one of them would run alone at the end. */
const slow = [
  'security/matrix',
  'tunnel-path/tunnel-robustness',
  'observability/demo',
  'upgrade/denied-while-away',
  'routes/decisions',
  'tunnel-path/passthrough-integrity',
  'observability/oracle-daemon',
  'conformance/istiod-faults',
  'kernel-path/half-open',
  'kernel-path/clsact',
  'conformance/zds-process',
  'conformance/namespaced-certificates',
];
const isSlow = ({ files: [file = ''] }: Run): boolean => slow.some((name) => file.includes(name));

/** A third file uses the time in which others wait for a process, a timer or a packet. */
const atATime = availableParallelism() + 1;

/** Runs the files, several at a time: slow ones first, then those that wait for each other. Returns the failed ones. */
async function runBeside(runs: readonly Run[]): Promise<Run[]> {
  const rank = (one: Run): number => (isSlow(one) ? 0 : isAlone(one) ? 1 : 2);
  const waiting = [...runs].sort((left, right) => rank(left) - rank(right));
  let aloneRuns = false;
  const failed: Run[] = [];
  const seconds = new Map<string, number>();
  const free = new Set<() => void>();
  const worker = async (): Promise<void> => {
    while (waiting.length > 0) {
      const at = waiting.findIndex((one) => !(aloneRuns && isAlone(one)));
      const next = at < 0 ? undefined : waiting.splice(at, 1)[0];
      if (next === undefined) {
        // The remaining files wait for the one of their kind that runs.
        await new Promise<void>((resolve) => free.add(resolve));
        continue;
      }
      const alone = isAlone(next);
      aloneRuns ||= alone;
      const began = performance.now();
      if ((await run({ ...next, held: true })) !== 0) failed.push(next);
      seconds.set(nameOf(next), (performance.now() - began) / 1000);
      if (alone) aloneRuns = false;
      for (const wake of free) wake();
      free.clear();
    }
  };
  await Promise.all(Array.from({ length: atATime }, worker));
  console.log(`\n${slowest(seconds)}`);
  keep(seconds);
  return failed;
}

async function runAll(): Promise<number> {
  if (kind === 'unit') return await run({ files, concurrency: availableParallelism() });
  if (kind === 'paths') {
    let status = 0;
    for (const kernelPath of ['off', 'on']) {
      console.log(`\n== kernel path ${kernelPath}`);
      status ||= await run({ files, kernelPath });
    }
    return status;
  }
  if (kind !== 'e2e' || filters.length > 0) return await run({ files });
  const runs: Run[] = [
    ...files.map((file) => ({ files: [file] })),
    ...onBothPaths.map((file) => ({ files: [file], kernelPath: 'on' })),
  ];
  const failed = await runBeside(runs);
  console.log(`\n${runs.length - failed.length} of ${runs.length} files passed`);
  for (const one of failed) console.log(`failed: ${nameOf(one)}\n${failures.get(nameOf(one)) ?? ''}`);
  return failed.length === 0 ? 0 : 1;
}

process.exitCode = await runAll();
