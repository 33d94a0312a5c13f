/** Two builds of the executable and of the image from the same sources. `npm run test:long -- image-digest` */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('../..', import.meta.url));

function digestOfBuild(): string {
  for (const script of ['build-binary.ts', 'build-image.ts'])
    execFileSync(process.execPath, [join(root, 'scripts', script)], {
      stdio: ['ignore', 'ignore', 'inherit'],
    });
  return readFileSync(join(root, 'dist/image.digest'), 'utf8');
}

test('two builds of the same sources have one digest', () => {
  assert.equal(digestOfBuild(), digestOfBuild());
});
