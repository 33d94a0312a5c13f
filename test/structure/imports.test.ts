import assert from 'node:assert/strict';
import { globSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { test } from 'node:test';

/** From the top down; a package may import only later ones. */
const order = [
  'kmesh',
  'lab',
  'ctl',
  'controller',
  'dns',
  'tunnel',
  'runtime',
  'probe',
  'orchestration',
  'linux',
  'api',
];

const importPattern = /(?:from|import\()\s*'(@kmesh\/([a-z]+)[^']*|\.{1,2}\/[^']+)'/g;

test('imports only point down the list of packages', () => {
  const offences: string[] = [];
  for (const file of globSync('packages/*/src/**/*.ts')) {
    const own = order.indexOf(file.split('/')[1] ?? '');
    assert.notEqual(own, -1, `${file} is in a package that is not in the list`);
    for (const [, specifier = '', target] of readFileSync(file, 'utf8').matchAll(importPattern)) {
      if (target !== undefined && order.indexOf(target) <= own) offences.push(`${file} imports ${specifier}`);
      if (specifier.startsWith('.') && specifier.includes('/packages/'))
        offences.push(`${file} imports ${specifier}`);
    }
  }
  assert.deepEqual(offences, []);
});

/** Folders of the cluster harness; the commands and shared files are in none of them. */
const clusterOrder = ['cases', 'report', 'mesh', 'kind', 'bare', 'api'];

test('imports of the cluster harness only point down its folders, and of packages only to the lab', () => {
  const offences: string[] = [];
  for (const file of globSync('istio-integration/cluster/**/*.ts')) {
    const folder = file.split('/')[2] ?? '';
    const own = clusterOrder.indexOf(folder);
    for (const [, specifier = '', target] of readFileSync(file, 'utf8').matchAll(importPattern)) {
      if (target !== undefined && target !== 'lab') offences.push(`${file} imports ${specifier}`);
      if (own === -1 || target !== undefined || !specifier.startsWith('../')) continue;
      const name = specifier.split('/')[1] ?? '';
      const other = clusterOrder.indexOf(name);
      const shared =
        /^(?:needed|paths|progress|wait)\.ts$/.test(name) ||
        specifier.startsWith('../../../scripts/image/') ||
        /^\.\.\/\.\.\/\.\.\/bench\/(?:peers\/envoy-program|harness\/work-tree)\.ts$/.test(specifier);
      if (other === -1 ? !shared : other < own) offences.push(`${file} imports ${specifier}`);
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

test('C++ and BPF sources include only files of lower layers', () => {
  const offences: string[] = [];
  for (const file of globSync('{packages/*/native,bpf,packages/lab/src/**/native}/**/*.{cc,c,h}')) {
    for (const [, path = ''] of readFileSync(file, 'utf8').matchAll(/^#include "([^"]+)"/gm)) {
      const target = join(dirname(file), path);
      const inside = dirname(target) === dirname(file);
      const layouts = target === 'bpf/kmesh_types.h' || target === 'bpf/kmesh_config.h';
      const lower = packageOf(target) === 'linux' && order.indexOf(packageOf(file)) < order.indexOf('linux');
      if (!inside && !layouts && !lower) offences.push(`${file} includes ${path}`);
    }
  }
  assert.deepEqual(offences, []);
});

function packageOf(file: string): string {
  return /^packages\/([a-z]+)\//.exec(file)?.[1] ?? '';
}
