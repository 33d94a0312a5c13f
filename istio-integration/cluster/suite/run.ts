import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createWriteStream, mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import type { Api, Manifest } from '../api/api.ts';
import { kubeconfig } from '../bare/cluster.ts';
import { buildImages, imagesFolder, namesOfImages, suiteImages } from '../bare/images.ts';
import { buildSuite, moduleFolder } from '../bare/programs.ts';
import { isKind } from '../bare/state.ts';
import { clusterNodes } from '../kind/nodes.ts';
import { plainEnvoyFilters } from '../mesh/envoy-filters.ts';
import { cache, clusterFolder, istioVersion } from '../paths.ts';
import type { Progress } from '../progress.ts';
import { junit } from '../report/junit.ts';
import { startBalancer } from './balancer.ts';
import { installAgain, installForSuite, meshProxy } from './mesh.ts';
import { notRunnable } from './not-runnable.ts';
import { readSuite, type SuiteTest, suiteTable } from './results.ts';
import { runFlag, type Selection, selectTests, skipFlag } from './select.ts';
import { makeSource, namesOfTests, testFolder } from './source.ts';

/** Results of Istio's own tests. */
export interface SuiteReport {
  readonly passed: number;
  readonly failed: number;
  readonly notRunnable: number;
  /** The complete output of the tests, in lines of `go tool test2json`. */
  readonly log: string;
  /** The table of the tests, as text. */
  readonly table: string;
  readonly tests: readonly SuiteTest[];
}

/** Time limit of all tests together. */
const SUITE_MINUTES = 90;

/**
 * Runs in the cluster the ambient tests of Istio's module that `pattern` selects, with the syntax of `go test -run`: builds
 * them, installs Istio again with their settings and the same proxy, and restores the earlier installation afterwards. The
 * report lists tests that cannot run here, with the reason.
 */
export async function runSuite(api: Api, pattern: string, progress: Progress): Promise<SuiteReport> {
  const source = join(cache, 'istio-source');
  const program = await progress.step("Istio's tests built", () => buildSuite(progress));
  makeSource(moduleFolder('istio.io/istio'), source);
  const { names: asked, parts } = selectTests(namesOfTests(join(source, testFolder)), pattern);
  if (asked.length === 0) throw new Error(`none of Istio's ambient tests has a name that matches ${pattern}`);
  const chosen = { names: asked.filter((name) => notRunnable[name] === undefined), parts };
  const reports = join(cache, 'reports');
  mkdirSync(reports, { recursive: true });
  const log = join(reports, 'istio-suite.jsonl');
  const ran = chosen.names.length === 0 ? [] : await runHere({ api, program, source, chosen, log }, progress);
  const without = { seconds: 0, parts: { passed: 0, failed: 0, skipped: 0 }, failures: [] };
  const tests = asked.flatMap((name): SuiteTest[] => [
    ran.find((test) => test.name === name) ?? {
      name,
      ...without,
      result: notRunnable[name] === undefined ? 'failed' : 'not runnable',
      reason: notRunnable[name] ?? 'it did not begin',
    },
    ...Object.entries(notRunnable)
      .filter(([part]) => part.startsWith(`${name}/`))
      .map(([part, reason]): SuiteTest => ({ name: part, ...without, result: 'not runnable', reason })),
  ]);
  const table = suiteTable(tests);
  writeFileSync(join(reports, 'istio-suite.txt'), `${table}\n`);
  const verdicts = tests
    .filter(({ result }) => result !== 'not runnable')
    .map(({ name, seconds, result, reason }) => ({
      name,
      seconds,
      failure: result === 'failed' ? reason : undefined,
    }));
  writeFileSync(join(reports, 'istio-suite.xml'), junit('istio-suite', verdicts));
  const count = (result: SuiteTest['result']): number =>
    tests.filter((test) => test.result === result).length;
  return {
    passed: count('passed'),
    failed: count('failed'),
    notRunnable: count('not runnable'),
    log,
    table,
    tests,
  };
}

interface SuiteRun {
  readonly api: Api;
  readonly program: string;
  readonly source: string;
  readonly chosen: Selection;
  readonly log: string;
}

async function runHere(run: SuiteRun, progress: Progress): Promise<SuiteTest[]> {
  const { api, source } = run;
  const proxy = await meshProxy(api);
  // kind's nodes pull released images.
  if (!isKind()) {
    const wanted = suiteImages(namesOfImages(moduleFolder('sigs.k8s.io/gateway-api/conformance')));
    for (const image of await buildImages(progress, wanted))
      await clusterNodes().load(join(imagesFolder, image));
  }
  const work = join(clusterFolder, 'istio-suite');
  const balancer = isKind() ? undefined : startBalancer(api);
  try {
    await progress.step('Istio with the settings of its tests', async () => {
      await installForSuite(api, proxy, source, work);
      if (!isKind()) await api.apply(...plainEnvoyFilters());
    });
    return await runTests(run, work, progress);
  } finally {
    await progress.step('Istio as before', async () => {
      // Left by tests that did not end by themselves.
      await api.remove(
        ...(await api.namespaces('istio-testing=istio-test'))
          .filter((name) => name !== 'istio-system')
          .map((name): Manifest => ({ apiVersion: 'v1', kind: 'Namespace', metadata: { name } })),
      );
      await installAgain(api, proxy);
      if (!isKind()) await api.apply(...plainEnvoyFilters());
    });
    await balancer?.stop();
  }
}

async function runTests(
  { program, source, chosen, log }: SuiteRun,
  work: string,
  progress: Progress,
): Promise<SuiteTest[]> {
  const flags = [
    ...['-test.v=test2json', `-test.run=${runFlag(chosen)}`, `-test.timeout=${SUITE_MINUTES}m`],
    `-test.skip=${skipFlag(Object.keys(notRunnable).filter((name) => name.includes('/')))}`,
    ...[`--istio.test.kube.config=${kubeconfig}`, '--istio.test.kube.deploy=false'],
    // With kind services have no external addresses: the tests use a port of a node.
    `--istio.test.kube.loadbalancer=${!isKind()}`,
    ...['--istio.test.ambient', '--istio.test.skipVM'],
    ...['--istio.test.hub=docker.io/istio', `--istio.test.tag=${istioVersion}`],
    ...['--istio.test.pullpolicy=IfNotPresent', `--istio.test.work_dir=${work}`],
  ];
  const child = spawn('go', ['tool', 'test2json', '-t', program, ...flags], {
    cwd: join(source, testFolder),
    env: { ...process.env, REPO_ROOT: source, KUBECONFIG: kubeconfig },
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const reader = readSuite();
  const file = createWriteStream(log);
  await progress.step(`Istio's tests, ${chosen.names.length}`, async () => {
    for await (const line of createInterface({ input: child.stdout })) {
      file.write(`${line}\n`);
      const ended = reader.read(line);
      const test = ended === undefined ? undefined : reader.tests().find(({ name }) => name === ended);
      if (test !== undefined)
        progress.say(
          `     ${test.name}: ${test.result} (${test.seconds.toFixed(1)} s) ${test.reason}`.trimEnd(),
        );
    }
    if (child.exitCode === null) await once(child, 'close');
    file.end();
    await once(file, 'close');
  });
  const tests = reader.tests();
  if (tests.length === 0) throw new Error(`none of Istio's tests began; they said:\n${reader.said()}`);
  return tests;
}
