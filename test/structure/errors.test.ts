import assert from 'node:assert/strict';
import { globSync, readFileSync } from 'node:fs';
import { test } from 'node:test';
import { errorRegistry } from '../../packages/api/src/error-registry.ts';

// The compiler checks the codes that are used, but not those in comments.
const registered = new Set(Object.keys(errorRegistry));
const sources = globSync('{packages/*/src,scripts}/**/*.ts')
  .filter((file) => !file.endsWith('/error-registry.ts'))
  .map((file) => ({ file, text: readFileSync(file, 'utf8') }));

test('every registered error code is used', () => {
  const used = new Set(
    sources.flatMap(({ text }) => [...text.matchAll(/'(KMESH_\w+)'/g)].map(([, code]) => code)),
  );
  assert.deepEqual(
    [...registered].filter((code) => !used.has(code)),
    [],
  );
});

test('every error code in an @throws tag is registered', () => {
  const strangers = sources.flatMap(({ file, text }) =>
    [...text.matchAll(/@throws[^@]*?(?=\n\s*\*\s*@|\*\/)/g)].flatMap(([tag]) =>
      [...tag.matchAll(/KMESH_\w+/g)]
        .filter(([code]) => !registered.has(code))
        .map(([code]) => `${file}: ${code}`),
    ),
  );
  assert.deepEqual(strangers, []);
});

test('the text of every error code is one sentence that ends with a full stop and fits into a table', () => {
  const bad = Object.entries(errorRegistry).filter(
    ([, { sentence }]) => !/^[A-Z`a-z][^|\n]*\.$/.test(sentence),
  );
  assert.deepEqual(bad, []);
});
