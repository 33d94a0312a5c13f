/**
 * `--compare REV`: interleaves suites of this tree and of another revision, each run with the benchmarks of its own
 * tree.
 */
import { spawn } from 'node:child_process';
import { existsSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { environment, type Figure, figure, median, printTable, type Report, significant } from './report.ts';
import { rounds } from './settings.ts';
import { commitOf, makeWorkTree } from './work-tree.ts';

const root = fileURLToPath(new URL('../../', import.meta.url));

/** Created in a work tree after its build, so that an interrupted build is repeated. */
const BUILT = 'build/built-for-bench';

interface Comparison {
  readonly revision: string;
  readonly names: readonly string[];
  readonly quick: boolean;
}

/** Figures of both trees, and this tree's divided by the other's of the same round. */
interface ComparedReport {
  readonly suite: 'compare';
  readonly environment: Report['environment'];
  readonly figures: readonly (Figure & { readonly suite: string; readonly tree: 'this' | 'other' })[];
  readonly ratios: readonly {
    readonly suite: string;
    readonly name: string;
    readonly contestant: string;
    readonly value: number;
    readonly spread: readonly [number, number];
  }[];
}

/**
 * Compares this tree with another revision, which is checked out and built below build/bench. A round is one run of the
 * suite with a single round in each tree; the trees alternate in going first. Omits figures that only one of the two
 * has.
 *
 * @throws Error when the revision is unknown, cannot be built, or a suite fails.
 */
export async function compareRevisions({ revision, names, quick }: Comparison): Promise<ComparedReport> {
  const commit = commitOf(revision);
  if (commit === undefined) throw new Error(`bench: "${revision}" is no revision of this repository`);
  const tree = join(root, 'build/bench/trees', commit.slice(0, 12));
  if (!existsSync(join(tree, BUILT))) buildTree(tree, commit);
  const trees = [
    { name: 'this', path: root },
    { name: 'other', path: tree },
  ] as const;
  const count = rounds(5);
  const figures: ComparedReport['figures'][number][] = [];
  const ratios: ComparedReport['ratios'][number][] = [];
  let interrupted = false;
  const onSignal = (): void => {
    interrupted = true;
  };
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, onSignal);
  for (const suite of names) {
    const found = { this: [] as Report[], other: [] as Report[] };
    for (let round = 0; round < count && !interrupted; round++) {
      for (const { name, path } of round % 2 === 0 ? trees : trees.toReversed()) {
        console.error(
          `bench: ${suite}, round ${round + 1} of ${count}, ${name === 'this' ? 'this tree' : revision}`,
        );
        const report = await runIn(path, suite, quick);
        if (report === undefined && !interrupted)
          throw new Error(`bench: ${suite} in ${path} ended without a result`);
        if (report === undefined || interrupted) break;
        found[name].push(report);
      }
    }
    // An interrupted comparison uses the rounds that both trees completed.
    const complete = Math.min(found.this.length, found.other.length);
    for (const reports of Object.values(found)) reports.length = complete;
    for (const { name, contestant, unit } of found.this[0]?.figures ?? []) {
      const of = (reports: readonly Report[]) =>
        reports.map(
          (report) =>
            report.figures.find((one) => one.name === name && one.contestant === contestant)?.value ??
            Number.NaN,
        );
      const [own, others] = [of(found.this), of(found.other)];
      if ([...own, ...others].some(Number.isNaN)) continue;
      figures.push({ ...figure(name, contestant, unit, own), suite, tree: 'this' });
      figures.push({ ...figure(name, contestant, unit, others), suite, tree: 'other' });
      const quotients = own.map((value, at) => value / (others[at] ?? Number.NaN));
      const spread = [significant(Math.min(...quotients)), significant(Math.max(...quotients))] as const;
      ratios.push({ suite, name, contestant, value: significant(median(quotients)), spread });
    }
  }
  const report: ComparedReport = {
    suite: 'compare',
    environment: environment({
      rounds: count,
      ...(interrupted ? { interrupted: 'yes' } : {}),
      'compared with': `${revision} (${commit.slice(0, 9)})`,
    }),
    figures,
    ratios,
  };
  print(report, revision);
  return report;
}

function print({ figures, ratios, environment: about }: ComparedReport, revision: string): void {
  console.log(`compare: ${Object.values(about).join(', ')}`);
  const rows = ratios.map(({ suite, name, contestant, value, spread }) => {
    const [own, other] = (['this', 'other'] as const).map((tree) =>
      figures.find(
        (one) =>
          one.suite === suite && one.tree === tree && one.name === name && one.contestant === contestant,
      ),
    );
    return [
      ...[suite, name, contestant, `${own?.value} ${own?.unit}`, `${other?.value} ${other?.unit}`],
      ...[`${value}`, `${spread[0]} … ${spread[1]}`],
    ];
  });
  printTable(['suite', 'figure', 'contestant', 'this tree', revision, 'this / other', 'spread'], rows);
}

/** A work tree with everything that a benchmark needs, kept for the next comparison. */
function buildTree(path: string, commit: string): void {
  console.error(`bench: building ${commit.slice(0, 9)} in ${path}`);
  const tree = makeWorkTree(path, commit);
  tree.run('bash', 'scripts/build.sh');
  writeFileSync(join(path, BUILT), '');
}

/** Runs one round of a suite in a tree, ignoring its bounds. Returns undefined if it failed. */
async function runIn(tree: string, suite: string, quick: boolean): Promise<Report | undefined> {
  const child = spawn(join(tree, 'node_modules/.bin/node'), [join(tree, 'bench/main.ts'), suite, '--json'], {
    cwd: tree,
    env: { ...process.env, KMESH_BENCH_ROUNDS: '1', ...(quick ? { KMESH_BENCH_QUICK: '1' } : {}) },
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const ends = (): void => void child.kill('SIGTERM');
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.once(signal, ends);
  let text = '';
  for await (const chunk of child.stdout.setEncoding('utf8')) text += chunk;
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.off(signal, ends);
  try {
    return JSON.parse(text.trimEnd().split('\n').at(-1) ?? '') as Report;
  } catch {
    return undefined;
  }
}
