import assert from 'node:assert/strict';
import { globSync, readFileSync } from 'node:fs';
import { test } from 'node:test';

/** From the top down; a package may import only what stands after it. */
const order = [
  'kmesh',
  'lab',
  'ctl',
  'controller',
  'dns',
  'tunnel',
  'probe',
  'orchestration',
  'runtime',
  'api',
];

const importPattern = /(?:from|import\()\s*'(@kmesh\/([a-z]+)[^']*|\.{1,2}\/[^']+)'/g;

test('imports only point down the list of packages', () => {
  const offences: string[] = [];
  for (const file of globSync('packages/*/src/**/*.ts')) {
    const own = order.indexOf(file.split('/')[1] ?? '');
    assert.notEqual(own, -1, `${file} is in a package that the list does not know`);
    for (const [, specifier = '', target] of readFileSync(file, 'utf8').matchAll(importPattern)) {
      if (target !== undefined && order.indexOf(target) <= own) offences.push(`${file} imports ${specifier}`);
      if (specifier.startsWith('.') && specifier.includes('/packages/'))
        offences.push(`${file} imports ${specifier}`);
    }
  }
  assert.deepEqual(offences, []);
});

test('every package declares the packages that it imports', () => {
  const missing: string[] = [];
  for (const file of globSync('packages/*/{src,test}/**/*.ts')) {
    const name = file.split('/')[1] ?? '';
    const manifest = JSON.parse(readFileSync(`packages/${name}/package.json`, 'utf8')) as {
      dependencies?: Record<string, string>;
    };
    for (const [, , target] of readFileSync(file, 'utf8').matchAll(importPattern)) {
      if (target === undefined || target === name || file.includes('/test/')) continue;
      if (manifest.dependencies?.[`@kmesh/${target}`] === undefined)
        missing.push(`${file}: @kmesh/${target}`);
    }
  }
  assert.deepEqual(missing, []);
});
