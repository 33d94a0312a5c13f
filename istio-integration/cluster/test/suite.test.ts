import assert from 'node:assert/strict';
import { lstatSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { parse } from 'yaml';
import { suiteValues } from '../suite/mesh.ts';
import { readSuite, suiteTable } from '../suite/results.ts';
import { runFlag, selectTests, skipFlag } from '../suite/select.ts';
import { makeSource, namesOfTests } from '../suite/source.ts';

const event = (fields: object): string => JSON.stringify({ Time: '2026-01-01T00:00:00Z', ...fields });
const said = (name: string, text: string): string =>
  event({ Action: 'output', Test: name, Output: `${text}\n` });
const ended = (name: string, action: string, seconds = 0.1): string =>
  event({ Action: action, Test: name, Elapsed: seconds });

test("results of Istio's tests are passed, failed with the first words of the failure, or not runnable", () => {
  const reader = readSuite();
  const ends = [
    'what the framework says',
    event({ Action: 'run', Test: 'TestGood' }),
    event({ Action: 'run', Test: 'TestGood/one' }),
    event({ Action: 'run', Test: 'TestGood/one/tcp' }),
    ended('TestGood/one/tcp', 'pass'),
    ended('TestGood/one', 'pass'),
    ended('TestGood', 'pass', 2.5),
    event({ Action: 'run', Test: 'TestBad' }),
    event({ Action: 'run', Test: 'TestBad/to/tcp' }),
    said('TestBad/to/tcp', '    call.go:12: connection refused'),
    said('TestBad/to/tcp', '    call.go:12: and again'),
    ended('TestBad/to/tcp', 'fail'),
    ended('TestBad/to', 'fail'),
    ended('TestBad/other', 'pass'),
    ended('TestBad', 'fail', 7),
    event({ Action: 'run', Test: 'TestElsewhere' }),
    said('TestElsewhere', '    baseline_test.go:7: needs two clusters'),
    ended('TestElsewhere', 'skip', 0),
    event({ Action: 'run', Test: 'TestDeclined/all' }),
    said('TestDeclined/all', '    sidecar_test.go:9: not with sidecars'),
    ended('TestDeclined/all', 'skip'),
    ended('TestDeclined', 'pass'),
    event({ Action: 'run', Test: 'TestHangs' }),
  ].map((line) => reader.read(line));
  assert.deepEqual(
    ends.filter((name) => name !== undefined),
    ['TestGood', 'TestBad', 'TestElsewhere', 'TestDeclined'],
  );
  assert.deepEqual(
    reader.tests().map(({ name, result, seconds, parts, reason }) => [name, result, seconds, parts, reason]),
    [
      ['TestGood', 'passed', 2.5, { passed: 1, failed: 0, skipped: 0 }, ''],
      [
        'TestBad',
        'failed',
        7,
        { passed: 1, failed: 1, skipped: 0 },
        'to/tcp: call.go:12: connection refused',
      ],
      [
        'TestElsewhere',
        'not runnable',
        0,
        { passed: 0, failed: 0, skipped: 0 },
        'baseline_test.go:7: needs two clusters',
      ],
      [
        'TestDeclined',
        'not runnable',
        0.1,
        { passed: 0, failed: 0, skipped: 1 },
        'all: sidecar_test.go:9: not with sidecars',
      ],
      ['TestHangs', 'failed', 0, { passed: 0, failed: 0, skipped: 0 }, 'it did not end'],
    ],
  );
  assert.deepEqual(
    reader.tests().flatMap(({ failures }) => failures),
    [{ name: 'to/tcp', seconds: 0.1, reason: 'call.go:12: connection refused' }],
  );
  assert.equal(reader.said(), 'what the framework says');
  const rows = suiteTable(reader.tests()).split('\n');
  assert.match(rows[0] ?? '', /^test +result +seconds +parts, reason$/);
  assert.match(
    rows[2] ?? '',
    /^TestBad +failed +7\.0 +1 passed; 1 failed; to\/tcp: call\.go:12: connection refused$/,
  );
  assert.match(rows[3] ?? '', /^ {2}to\/tcp +failed +0\.1 +call\.go:12: connection refused$/);
  assert.match(rows[4] ?? '', /^TestElsewhere +not runnable +baseline_test\.go:7: needs two clusters$/);
});

function folderWith(context: TestContext, files: Readonly<Record<string, string>>): string {
  const folder = mkdtempSync(join(tmpdir(), 'kmesh-suite-'));
  context.after(() => rmSync(folder, { recursive: true }));
  for (const [name, text] of Object.entries(files)) {
    mkdirSync(dirname(join(folder, name)), { recursive: true });
    writeFileSync(join(folder, name), text);
  }
  return folder;
}

test("the repository folder of Istio's tests is the module, except for the step that reloads Prometheus", (context) => {
  const deployment = {
    kind: 'Deployment',
    spec: { template: { spec: { containers: [{ name: 'reloader' }, { name: 'prometheus-server' }] } } },
  };
  const module = folderWith(context, {
    'go.mod': 'module istio',
    'samples/certs/one.pem': 'a certificate',
    'samples/addons/kiali.yaml': 'kind: Service',
    'samples/addons/prometheus.yaml': `kind: Service\n---\n${JSON.stringify(deployment)}\n`,
  });
  const made = join(folderWith(context, {}), 'source');
  for (const _ of ['the first time', 'again']) makeSource(module, made);
  assert.equal(readFileSync(join(made, 'samples/certs/one.pem'), 'utf8'), 'a certificate');
  assert.ok(lstatSync(join(made, 'samples/addons/kiali.yaml')).isSymbolicLink());
  const [service = '', other = ''] = readFileSync(join(made, 'samples/addons/prometheus.yaml'), 'utf8').split(
    '---\n',
  );
  assert.equal(parse(service).kind, 'Service');
  assert.deepEqual(parse(other).spec.template.spec.containers, [{ name: 'prometheus-server' }]);
});

test('the tests of a package are all functions that the go command recognises as tests', (context) => {
  const folder = folderWith(context, {
    'b_test.go': 'func TestLast(t *testing.T) {',
    'a_test.go':
      'func TestMain(m *testing.M) {\nfunc TestFirst(t *testing.T) {\n\tTestNot(t)\nfunc TestSecond(x *testing.T) {',
    'util.go': 'func TestNothing(t *testing.T) {',
  });
  assert.deepEqual(namesOfTests(folder), ['TestFirst', 'TestSecond', 'TestLast']);
});

test('tests are selected as "go test -run" does, their parts behind slashes', () => {
  const names = ['TestPodIP', 'TestTraffic', 'TestTrafficSplit'];
  const flags = (pattern: string): string => runFlag(selectTests(names, pattern));
  assert.equal(flags('.'), '^(TestPodIP|TestTraffic|TestTrafficSplit)$');
  assert.equal(flags('TestPodIP|Split'), '^(TestPodIP|TestTrafficSplit)$');
  assert.equal(flags('^TestTraffic$/gateway|services/to_a'), '^(TestTraffic)$/(gateway|services)/(to_a)');
  assert.equal(flags('TestPodIP/a[/]b/(c/d)'), '^(TestPodIP)$/(a[/]b)/((c/d))');
  assert.deepEqual(selectTests(names, 'TestOther').names, []);
  assert.equal(skipFlag(['TestA/b (c)', 'TestB/d']), String.raw`^TestA$/^b \(c\)$|^TestB$/^d$`);
});

test("Istio is installed with the values that its tests' source names", () => {
  const source =
    'const (\n\tambientControlPlaneValues = `\nvalues:\n  pilot:\n    env:\n      ALPHA: "true"\n  cni:\n    repair: {}\n`\n)';
  assert.deepEqual(parse(suiteValues(source)).spec.values, {
    pilot: { env: { ALPHA: 'true' } },
    cni: { repair: {} },
  });
  assert.throws(() => suiteValues('package ambient'), /has no ambientControlPlaneValues/);
});
