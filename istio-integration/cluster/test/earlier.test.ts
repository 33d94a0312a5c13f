import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { commitOf, git } from '../../../bench/harness/work-tree.ts';
import { writeOciLayout } from '../../../scripts/image/oci-layout.ts';
import type { Nodes } from '../bare/nodes.ts';
import { referenceOf } from '../commands.ts';
import { earlierKmesh, earlierRevision, renameImage } from '../mesh/earlier.ts';

test('a renamed image differs only in its name', (context) => {
  const folder = mkdtempSync(join(tmpdir(), 'kmesh-earlier-'));
  context.after(() => rmSync(folder, { recursive: true }));
  const [from, to] = [join(folder, 'from.tar'), join(folder, 'to.tar')];
  writeOciLayout(join(folder, 'layout'), {
    layers: [Buffer.from('a layer')],
    config: { Entrypoint: ['/kmesh'] } as never,
    architecture: 'amd64',
    references: ['docker.io/kmesh/kmesh:0.1.0'],
    cache: join(folder, 'layers'),
  });
  execFileSync('tar', ['-cf', from, '-C', join(folder, 'layout'), '.']);
  renameImage(from, 'docker.io/kmesh/kmesh:abc', to);
  assert.deepEqual(
    [referenceOf(from), referenceOf(to)],
    ['docker.io/kmesh/kmesh:0.1.0', 'docker.io/kmesh/kmesh:abc'],
  );
  const files = (archive: string): string[] =>
    execFileSync('tar', ['-tf', archive], { encoding: 'utf8' }).trim().split('\n').sort();
  assert.deepEqual(files(to), files(from));
});

test('the revision to upgrade from has other pinned layouts than this tree', () => {
  const revision = earlierRevision();
  assert.ok(commitOf(revision));
  const names = (of: string): string | undefined =>
    /pinnedLayouts = \{[^}]*\}/.exec(
      git(['show', `${of}:packages/runtime/src/tables/gen/layouts.ts`]) ?? '',
    )?.[0];
  assert.match(names(revision) ?? '', /flows: 'v/);
  assert.notEqual(names(revision), names('HEAD'));
});

test('an unknown revision is named in the error', async () => {
  await assert.rejects(
    earlierKmesh({} as Nodes, 'no-such-thing'),
    /--from no-such-thing: no revision of this repository/,
  );
});
