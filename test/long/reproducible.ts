/**
 * Two builds of the same sources, from the bundle to the image, have the same digest, with any user and environment.
 * Part of `npm run test:binary`. `npm run test:long -- reproducible`
 */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('../..', import.meta.url));

/** Builds executable and image with these variables beside the usual ones, and returns the image's digest. */
function build(variables: NodeJS.ProcessEnv): string {
  for (const script of ['build-binary.ts', 'build-image.ts'])
    execFileSync(process.execPath, [join(root, 'scripts', script)], {
      stdio: ['ignore', 'ignore', 'inherit'],
      env: { ...process.env, ...variables },
    });
  return readFileSync(join(root, 'dist/image.digest'), 'utf8');
}

test('two builds of the same sources have the same digest', () => {
  const mine = build({ NODE_COMPILE_CACHE: undefined, TZ: 'UTC', LANG: 'C' });
  const theirs = build({
    NODE_COMPILE_CACHE: join(root, 'build/compile-cache'),
    NODE_OPTIONS: '--max-old-space-size=900',
    TZ: 'Asia/Tokyo',
    LANG: 'de_DE.UTF-8',
  });
  assert.equal(mine, theirs);
});
