import assert from 'node:assert/strict';
import { existsSync, readFileSync } from 'node:fs';
import { test } from 'node:test';
import { check, threatModel } from '../src/check.ts';

const root = new URL('../../../', import.meta.url);

test('check prints the ten assumptions of the kernel path, and docs/security.md names a test for each', () => {
  const text = check({ rows: [], programs: [] }, 'short');
  const document = readFileSync(new URL('docs/security.md', root), 'utf8').split('\n');
  assert.equal(threatModel.length, 10);
  for (const sentence of threatModel) {
    assert.ok(text.includes(sentence), sentence);
    const row = document.find((line) => line.startsWith(`| ${sentence} |`));
    assert.ok(row, `docs/security.md has: ${sentence}`);
    const tests = [...row.matchAll(/`(test\/[\w/-]+)`/g)].map(([, path = '']) => path);
    // There is no promise about what root can do.
    assert.ok(tests.length > 0 || sentence.startsWith('Root'), sentence);
    for (const path of tests) assert.ok(existsSync(new URL(`${path}.test.ts`, root)), path);
  }
});
