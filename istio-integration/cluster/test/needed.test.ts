import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { chmodSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { cluster } from '../commands.ts';
import { checkNeeded, MissingError, type Needed } from '../needed.ts';
import { parseOptions } from '../options.ts';

test('names every missing program, its expected path, and the package that provides it', (context) => {
  const folder = mkdtempSync(join(tmpdir(), 'kmesh-needed-'));
  context.after(() => rmSync(folder, { recursive: true }));
  writeFileSync(join(folder, 'there'), '');
  chmodSync(join(folder, 'there'), 0o755);
  writeFileSync(join(folder, 'not-executable'), '');
  const needed = ['there', 'not-executable', 'absent', join(folder, 'there'), join(folder, 'gone')].map(
    (at) => ({
      name: `package of ${at}`,
      at,
      from: `installing ${at}`,
    }),
  );
  assert.throws(
    () => checkNeeded(needed, `/nowhere:${folder}`),
    (error) => {
      assert.ok(error instanceof MissingError);
      const lines = error.message.split('\n').slice(1);
      assert.equal(lines.length, 3, error.message);
      assert.match(lines[0] ?? '', /program not-executable is expected on the search path \(\/nowhere, /);
      assert.match(lines[1] ?? '', /package of absent: .*provided by: installing absent/);
      assert.match(lines[2] ?? '', new RegExp(`expected at ${folder}/gone; provided by: installing`));
      return true;
    },
  );
  checkNeeded(
    needed.filter(({ at }) => at.endsWith('there')),
    folder,
  );
  assert.equal(MissingError.exitCode, 3);
});

test('"up" on a machine without the programs names them and exits with code 3 before any change', (context) => {
  const cache = mkdtempSync(join(tmpdir(), 'kmesh-needed-'));
  context.after(() => rmSync(cache, { recursive: true }));
  const main = fileURLToPath(new URL('../main.ts', import.meta.url));
  const { status, stderr } = spawnSync(process.execPath, [main, 'up'], {
    encoding: 'utf8',
    env: { PATH: '/nowhere', KMESH_CLUSTER_CACHE: cache },
  });
  assert.equal(status, 3, stderr);
  for (const program of ['go', 'containerd', 'runc', 'etcd'])
    assert.match(
      stderr,
      new RegExp(`the program ${program} is expected on the search path \\(/nowhere\\); provided by: `),
    );
  assert.deepEqual(readdirSync(cache), []);
});

test('names the missing requirements of a cluster of kind', async (context) => {
  const folder = mkdtempSync(join(tmpdir(), 'kmesh-needed-'));
  const path = process.env['PATH'];
  context.after(() => {
    process.env['PATH'] = path;
    rmSync(folder, { recursive: true });
  });
  process.env['PATH'] = folder;
  const options = await parseOptions(['up', '--backend', 'kind']);
  assert.ok(options);
  const up = async (): Promise<string> => {
    const error = await cluster(options).catch((thrown: unknown) => thrown);
    assert.ok(error instanceof MissingError, String(error));
    return error.message;
  };
  const message = await up();
  for (const program of ['kind', 'docker or podman', 'kubectl', 'istioctl'])
    assert.match(
      message,
      new RegExp(`the program ${program} is expected on the search path \\(${folder}\\); provided by: `),
    );
  const put = (program: string, text: string): void => {
    writeFileSync(join(folder, program), `#!/bin/sh\n${text}\n`);
    chmodSync(join(folder, program), 0o755);
  };
  for (const program of ['kind', 'kubectl']) put(program, 'exit 9');
  // A command whose daemon does not run is not an engine; kind itself would report that only when it creates nodes.
  put('docker', 'exit 1');
  assert.match(await up(), /a container engine: docker is there, and "docker ps" fails; provided by: /);
  // One of the engines is enough.
  put('podman', '[ "$1" = ps ]');
  const rest = await up();
  assert.doesNotMatch(rest, /engine|kind is|kubectl/);
  assert.match(rest, /the program istioctl is expected/);
});

test('a file that is missing is named as one that is there is not', () => {
  const wanted = (at: string): Needed => ({ name: 'a hierarchy', at, file: true, from: 'another kernel' });
  checkNeeded([wanted('/proc/self/mounts')]);
  assert.throws(
    () => checkNeeded([wanted('/proc/self/mounts'), wanted('/proc/nothing')]),
    /needs:\n {2}a hierarchy: expected at \/proc\/nothing; provided by: another kernel$/,
  );
});
