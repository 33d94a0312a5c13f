import assert from 'node:assert/strict';
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
