import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { readdirSync } from 'node:fs';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { eventually } from '@kmesh/api/testing';
import { cgroupRoot } from '@kmesh/lab';

const executable = fileURLToPath(new URL('../../packages/kmesh/src/main.ts', import.meta.url));

interface Ended {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

/** Runs a shell command in separate network and mount namespaces; $KMESH is the executable. */
function start(line: string): { child: ChildProcess; ended: Promise<Ended> } {
  const child = spawn('unshare', ['--net', '--mount', 'sh', '-ec', `ip link set lo up; ${line}`], {
    env: { ...process.env, KMESH: `${process.execPath} ${executable}` },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  let stdout = '';
  let stderr = '';
  child.stdout.setEncoding('utf8').on('data', (text: string) => (stdout += text));
  child.stderr.setEncoding('utf8').on('data', (text: string) => (stderr += text));
  const ended = new Promise<Ended>((resolve) =>
    child.once('close', (code) => resolve({ code, stdout, stderr })),
  );
  return { child, ended };
}

/** Returns a shell command that waits until the demo's proxy has counted connections, of one path if it is given. */
const carries = (path = ''): string =>
  `until curl -sf localhost:15020/metrics | grep -q '^kmesh_connections_path_total{path="${path}'; do sleep 0.1; done`;

/** Returns the names of the labs that a process has created and not removed. */
function leftOvers(pid: number | undefined): string[] {
  const mark = `kmlab-${pid}-`;
  return [...readdirSync('/run/netns'), ...readdirSync(cgroupRoot())].filter((name) => name.startsWith(mark));
}

test('the demo serves every endpoint without a failure, ends by itself and prints one JSON object', async () => {
  const { child, ended } = start('exec $KMESH demo --for 3s --json');
  const { code, stdout, stderr } = await ended;
  assert.equal(code, 0, stderr);
  const result = JSON.parse(stdout.trimEnd().split('\n').at(-1) ?? '');
  assert.deepEqual(Object.keys(result), ['connections', 'failed', 'byEndpoint', 'path', 'hookNs']);
  assert.equal(result.failed, 0);
  assert.ok(result.connections > 100);
  assert.ok(result.hookNs > 0);
  assert.ok(result.path.kernel > 0 && result.path.tunnel > 0 && result.path.outside > 0);
  assert.ok(result.path.kernel > result.path.tunnel, 'connections within the node stay in the kernel');
  assert.deepEqual(Object.keys(result.byEndpoint.web).sort(), ['web-1', 'web-2', 'web-3']);
  for (const [service, endpoints] of Object.entries(result.byEndpoint)) {
    for (const [name, count] of Object.entries(endpoints as Record<string, number>)) {
      assert.ok(count > 0, `${service} never reached ${name}`);
    }
  }
  assert.deepEqual(leftOvers(child.pid), []);
});

for (const signal of ['SIGINT', 'SIGTERM'] as const) {
  test(`${signal} ends the demo, which prints its summary and leaves nothing behind`, async () => {
    const { child, ended } = start(`(${carries()}; echo carries >&2) & exec $KMESH demo`);
    let log = '';
    child.stderr?.on('data', (text: string) => (log += text));
    await eventually('it carries connections', () => log.includes('\ncarries\n'), 30_000);
    assert.notDeepEqual(leftOvers(child.pid), [], 'the lab is there while the demo runs');
    child.kill(signal);
    const { code, stdout, stderr } = await ended;
    assert.equal(code, 0, stderr);
    assert.match(stdout, /greeter-2/);
    assert.deepEqual(leftOvers(child.pid), []);
  });
}

test('a missing local mesh file is created, and the demo uses it', async () => {
  const { ended } = start(
    'f=$(mktemp -d)/mesh.yaml; $KMESH demo --for 2s --json --local $f; grep -c workloadIps $f',
  );
  const { code, stdout, stderr } = await ended;
  assert.equal(code, 0, stderr);
  assert.match(stdout, /"failed":0/);
  assert.match(stdout, /\n8\n$/);
});

for (const [what, line, sentence] of [
  [
    'not being root',
    'exec setpriv --reuid 65534 --clear-groups $KMESH demo --for 1s',
    /needs root.*run it again as root/,
  ],
  [
    'a machine without cgroup v2',
    'umount -l $(findmnt -n -t cgroup2 -o TARGET | tac); exec $KMESH demo --for 1s',
    /cgroup v2 is not mounted: mount it/,
  ],
  [
    'a process that may not use BPF',
    'exec setpriv --bounding-set=-bpf,-sys_admin,-perfmon --inh-caps=-all $KMESH demo --for 1s',
    /BPF is not permitted here/,
  ],
] as const) {
  test(`${what} is one sentence and exit code 1, and nothing is left behind`, async () => {
    const { child, ended } = start(line);
    const { code, stderr, stdout } = await ended;
    assert.equal(code, 1);
    assert.match(stderr, sentence);
    assert.equal(stderr.trim().split('\n').length, 1, stderr);
    assert.equal(stdout, '');
    assert.deepEqual(leftOvers(child.pid), []);
  });
}

test('a port in use is named, and nothing is left behind', async () => {
  const { child, ended } = start(
    `${process.execPath} -e "require('net').createServer().listen(15021, '::')" & holder=$!; ` +
      "until ss -Hltn 'sport = :15021' | grep -q .; do sleep 0.05; done; " +
      'code=0; $KMESH demo --for 1s || code=$?; kill $holder; exit $code',
  );
  const { code, stderr } = await ended;
  assert.equal(code, 1);
  assert.match(stderr, /ports that the node proxy needs are taken: 15021 by/);
  assert.deepEqual(leftOvers(child.pid), []);
});

test('a second demo does not start, and names the ports in use and the process that has them', async () => {
  const { ended } = start(
    `$KMESH demo --json 2>/dev/null & first=$!; ${carries()}; ` +
      '$KMESH demo --for 1s || echo second $?; kill $first; wait',
  );
  const { stdout, stderr } = await ended;
  assert.match(stdout, /second 1/);
  assert.match(
    stderr,
    /ports that the node proxy needs are taken: .*15000 by \S+ \(process \d+\).*another demo/,
  );
  assert.match(stdout, /"failed":0/, 'the first continues undisturbed');
});

test('an error in the local mesh file is printed in the view', async () => {
  const { ended } = start(
    `d=$(mktemp -d); $KMESH demo --json --local $d/mesh.yaml 2> $d/errors & demo=$!; ${carries()}; ` +
      'echo "workload: []" > $d/mesh.yaml; until grep -q "unknown key" $d/errors; do sleep 0.1; done; ' +
      'kill $demo; wait; cat $d/errors >&2',
  );
  const { stderr } = await ended;
  assert.match(stderr, /kmesh demo: .*mesh\.yaml:1:1: workload is an unknown key/);
});

test('kmeshctl check beside the demo has no wrong or repeated line, and the view shows policies, certificates and tunnelled traffic', async () => {
  const checked = `${process.execPath} packages/ctl/src/main.ts check`;
  const { ended } = start(
    `$KMESH demo & demo=$!; ${carries('tunnel')}; ${checked} && code=0 || code=$?; echo checked $code; kill $demo; wait`,
  );
  const { stdout, stderr } = await ended;
  assert.match(stdout, /checked 0/, stdout + stderr);
  const rows = stdout
    .slice(0, stdout.indexOf('checked'))
    .split('\n')
    .filter((line) => /^(problem|warning|ok) /.test(line));
  assert.equal(new Set(rows.map((row) => row.split(/\s{2,}/)[2])).size, rows.length, rows.join('\n'));
  assert.ok(
    rows.some((row) => /^ok +daemon +kmesh/.test(row)),
    rows.join('\n'),
  );
  assert.deepEqual(
    rows.filter((row) => /^(problem|warning)/.test(row) && !/ capability /.test(row)),
    [],
  );
  assert.match(stdout, /tunnel [1-9]\d* \(/);
  assert.match(stdout, /1 policy, 4 certificates/);
});
