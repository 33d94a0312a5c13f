import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import { cpSync, mkdirSync, mkdtempSync, readlinkSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { fileURLToPath } from 'node:url';

const workspace = fileURLToPath(new URL('../../..', import.meta.url));
const kmesh = join(workspace, 'packages/kmesh/bin/kmesh.js');
const kmeshctl = join(workspace, 'packages/ctl/bin/kmeshctl.js');
// Without a proxy's settings: the test must not affect a daemon of this machine.
const { PATH, NODE_COMPILE_CACHE } = process.env;
const env = {
  PATH,
  KMESH_ADMIN: 'http://127.0.0.1:1',
  // Makes repeated starts cheap.
  ...(NODE_COMPILE_CACHE === undefined ? {} : { NODE_COMPILE_CACHE }),
};

function run(script: string, args: readonly string[], nodeOptions: readonly string[] = []) {
  return spawnSync(process.execPath, [...nodeOptions, script, ...args], { encoding: 'utf8', env });
}

for (const args of [
  ['uninstall', '--help'],
  ['uninstall', '-h'],
  ['proxy', '--help'],
  ['proxy', 'ztunnel', '-h'],
  ['demo', '--json', '--help'],
  ['version', '--help'],
  ['--help', 'uninstall'],
  ['help', 'uninstall'],
]) {
  test(`kmesh ${args.join(' ')} prints the usage and does nothing`, () => {
    const { status, stdout, stderr } = run(kmesh, args);
    assert.deepEqual([status, stderr], [0, '']);
    assert.match(stdout, /^usage: kmesh/);
  });
}

for (const command of ['workloads', 'check', 'log', 'why', 'metrics']) {
  test(`kmeshctl ${command} --help needs no daemon`, () => {
    const { status, stdout } = run(kmeshctl, [command, '--help']);
    assert.equal(status, 0);
    assert.match(stdout, new RegExp(`kmeshctl ${command}`));
  });
}

for (const [script, ...args] of [
  [kmesh, 'uninstall', 'now'],
  [kmesh, 'version', '--nonsense'],
  [kmesh, 'demo', '--nonsense'],
  [kmesh, 'demo', '--for'],
  [kmesh, 'demo', '--for', 'soon'],
  [kmeshctl, 'nonsense'],
  [kmeshctl, 'workloads', '--nonsense'],
  [kmeshctl, 'workloads', '-o', 'nonsense'],
  [kmeshctl, 'why'],
  [kmeshctl],
] as const) {
  test(`${script === kmesh ? 'kmesh' : 'kmeshctl'} ${args.join(' ')} is a usage error: exit code 2, one sentence`, () => {
    const { status, stdout, stderr } = run(script, args);
    assert.equal(status, 2);
    assert.equal(stdout, '');
    assert.match(stderr, /^kmesh(ctl)?: [^\n]+\n$/);
  });
}

test('both commands print a version', () => {
  for (const args of [['version'], ['--version']]) {
    assert.match(run(kmesh, args).stdout, /^\S.*\n$/);
    assert.match(run(kmeshctl, args).stdout, /^kmeshctl \d+\.\d+\.\d+\n$/);
  }
});

test('a closed reader ends the output without an error', async () => {
  for (const [script, args] of [
    [kmesh, ['help']],
    [kmeshctl, ['--help']],
  ] as const) {
    const child = spawn(process.execPath, [script, ...args], { env });
    let errors = '';
    child.stderr.on('data', (chunk: Buffer) => {
      errors += chunk.toString();
    });
    child.stdout.destroy();
    const code = await new Promise((resolve) => child.once('close', resolve));
    assert.deepEqual([code, errors], [0, '']);
  }
});

test('both are commands of the workspace after the set-up', () => {
  assert.match(readlinkSync(join(workspace, 'node_modules/.bin/kmesh')), /kmesh\/bin\/kmesh\.js$/);
  assert.match(readlinkSync(join(workspace, 'node_modules/.bin/kmeshctl')), /ctl\/bin\/kmeshctl\.js$/);
});

// A Node.js that does not strip types counts as old.
const old = ['--no-strip-types'];

test('under an old Node.js a command runs with the installed Node.js', () => {
  const { status, stdout, stderr } = run(kmeshctl, ['version'], old);
  assert.deepEqual([status, stderr], [0, '']);
  assert.match(stdout, /^kmeshctl/);
  assert.equal(run(kmeshctl, ['nonsense'], old).status, 2, 'with its exit code');
});

const elsewhere = mkdtempSync(join(tmpdir(), 'kmesh-commands-'));
after(() => rmSync(elsewhere, { recursive: true }));

test('under an old Node.js, before the set-up, a command prints one sentence that says what to do', () => {
  mkdirSync(join(elsewhere, 'packages'));
  for (const name of ['kmesh', 'ctl']) {
    cpSync(join(workspace, `packages/${name}/bin`), join(elsewhere, `packages/${name}/bin`), {
      recursive: true,
    });
    cpSync(
      join(workspace, `packages/${name}/package.json`),
      join(elsewhere, `packages/${name}/package.json`),
    );
  }
  for (const path of ['packages/kmesh/bin/kmesh.js', 'packages/ctl/bin/kmeshctl.js']) {
    const { status, stdout, stderr } = run(join(elsewhere, path), ['version'], old);
    assert.deepEqual([status, stdout], [1, '']);
    assert.match(
      stderr,
      /^kmesh(ctl)?: this is Node\.js \S+, and \S+ needs 26 or newer: run "npm ci"[^\n]*\n$/,
    );
  }
});
