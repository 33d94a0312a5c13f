import assert from 'node:assert/strict';
import { mkdir, mkdtemp, rename, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import type { KmeshError, MeshUpdate } from '@kmesh/api';
import { eventually } from '@kmesh/api/testing';
import { type LocalMeshWatch, watchLocalMesh } from '../../src/local/watch-local-mesh.ts';

const mesh = (uid: string) => `workloads: [{ uid: ${uid}, workloadIps: [], namespace: ns, services: {} }]\n`;

/** A directory, a watch on a file in it, and all its reports. */
async function watching(
  prepare: (directory: string) => Promise<string>,
  run: (context: {
    directory: string;
    path: string;
    watch: LocalMeshWatch;
    updates: MeshUpdate[];
    errors: KmeshError[];
  }) => Promise<void>,
): Promise<void> {
  const directory = await mkdtemp(join(tmpdir(), `kmesh-local-${process.pid}-`));
  const updates: MeshUpdate[] = [];
  const errors: KmeshError[] = [];
  try {
    const path = await prepare(directory);
    const options = { debounceMilliseconds: 10 };
    await using watch = await watchLocalMesh(
      path,
      (more) => updates.push(...more),
      (error) => errors.push(error),
      options,
    );
    await run({ directory, path, watch, updates, errors });
  } finally {
    await rm(directory, { recursive: true, force: true });
  }
}

async function plainFile(directory: string): Promise<string> {
  const path = join(directory, 'mesh.yaml');
  await writeFile(path, mesh('a'));
  return path;
}

describe('watching the local mesh file', () => {
  test('delivers the first state, then the difference when the file is rewritten or replaced', () =>
    watching(plainFile, async ({ directory, path, updates }) => {
      assert.deepEqual(
        updates.map(({ kind }) => kind),
        ['workload'],
      );
      await writeFile(path, mesh('b'));
      await eventually('the watch sees the change', () => updates.length === 3);
      assert.deepEqual(
        updates.slice(1).map(({ kind }) => kind),
        ['workload', 'removeWorkload'],
      );
      await writeFile(join(directory, 'next'), mesh('c'));
      await rename(join(directory, 'next'), path);
      await eventually('the watch sees the change', () => updates.length === 5);
    }));

  test('detects a replaced symbolic link, as in ConfigMaps', () =>
    watching(
      async (directory) => {
        for (const version of ['a', 'b']) {
          await mkdir(join(directory, `..${version}`));
          await writeFile(join(directory, `..${version}`, 'mesh.yaml'), mesh(version));
        }
        await symlink('..a', join(directory, '..data'));
        await symlink(join('..data', 'mesh.yaml'), join(directory, 'mesh.yaml'));
        return join(directory, 'mesh.yaml');
      },
      async ({ directory, watch, updates }) => {
        await symlink('..b', join(directory, '..data_tmp'));
        await rename(join(directory, '..data_tmp'), join(directory, '..data'));
        await eventually('the watch sees the change', () => updates.length === 3);
        assert.deepEqual([...watch.mesh.workloads.keys()], ['b']);
      },
    ));

  test('keeps the last valid state while the file is invalid or missing, and logs each cause once', () =>
    watching(plainFile, async ({ path, watch, updates, errors }) => {
      await writeFile(path, 'workloads: 3\n');
      await eventually('the watch sees the change', () => errors.length === 1);
      assert.equal(errors[0]?.code, 'KMESH_LOCAL_CONFIG_INVALID');
      assert.match(errors[0]?.message ?? '', /mesh\.yaml:1:12: workloads is 3/);
      assert.deepEqual([...watch.mesh.workloads.keys()], ['a']);
      await rm(path);
      await eventually('the watch sees the change', () => errors.length === 2);
      assert.equal(errors[1]?.code, 'KMESH_LOCAL_CONFIG_UNREADABLE');
      assert.deepEqual([...watch.mesh.workloads.keys()], ['a']);
      await writeFile(path, mesh('b'));
      await eventually('the watch sees the change', () => updates.length === 3);
      assert.deepEqual([...watch.mesh.workloads.keys()], ['b']);
    }));

  test('refuses to start with a file that is missing or invalid', async () => {
    const nothing = () => {};
    await assert.rejects(watchLocalMesh('/nonexistent/mesh.yaml', nothing, nothing), {
      code: 'KMESH_LOCAL_CONFIG_UNREADABLE',
    });
    const wrong = async (directory: string) => {
      const path = join(directory, 'mesh.yaml');
      await writeFile(path, 'services: 1\n');
      return path;
    };
    await assert.rejects(
      watching(wrong, async () => {}),
      { code: 'KMESH_LOCAL_CONFIG_INVALID' },
    );
  });
});
