import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { canBuild } from '../bare/go.ts';

for (const [version, answer] of [
  ['go version go1.26.8 linux/amd64', true],
  ['go version go1.21.0 linux/amd64', true],
  ['go version go1.19.8 linux/amd64', false],
  ['go version go1.20 linux/arm64', false],
  ['go version devel go1.27-a1b2c3 linux/amd64', true],
  ['nothing of the kind', false],
] as const)
  test(`"${version}" ${answer ? 'builds' : 'does not build'} the cluster's programs`, () => {
    assert.equal(canBuild(version), answer);
  });

test('go commands are run by the release that replaces a go that is too old', () => {
  const folder = mkdtempSync(join(tmpdir(), 'kmesh-go-'));
  try {
    for (const [place, version] of [
      ['old', 'go version go1.19.8 linux/amd64'],
      ['cache/go1.26.8/bin', 'go version go1.26.8 linux/amd64'],
    ] as const) {
      mkdirSync(join(folder, place), { recursive: true });
      writeFileSync(join(folder, place, 'go'), `#!/bin/sh\necho ${version}\n`, { mode: 0o755 });
    }
    const module = new URL('../bare/go.ts', import.meta.url).href;
    const program = `
      import { execFileSync } from 'node:child_process';
      const { findGo, goEnvironment } = await import('${module}');
      findGo({ note() {} });
      process.stdout.write(execFileSync('go', ['version'], { env: goEnvironment() }));`;
    const said = execFileSync(process.execPath, ['--input-type=module', '--eval', program], {
      encoding: 'utf8',
      env: { PATH: `${join(folder, 'old')}:/usr/bin:/bin`, KMESH_CLUSTER_CACHE: join(folder, 'cache') },
    });
    assert.equal(said, 'go version go1.26.8 linux/amd64\n');
  } finally {
    rmSync(folder, { recursive: true });
  }
});
