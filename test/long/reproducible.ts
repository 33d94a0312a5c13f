/**
 * Two builds of the same sources, from the bundle to the image, have one digest. Part of `npm run test:binary`.
 * `npm run test:long -- reproducible`
 */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('../..', import.meta.url));

/** Builds executable and image, and returns the image's digest. */
function build(): string {
  for (const script of ['build-binary.ts', 'build-image.ts'])
    execFileSync(process.execPath, [join(root, 'scripts', script)], {
      stdio: ['ignore', 'ignore', 'inherit'],
    });
  return readFileSync(join(root, 'dist/image.digest'), 'utf8');
}

test('two builds of the same sources have one digest', () => {
  assert.equal(build(), build());
});
