import assert from 'node:assert/strict';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { parseOptions, UsageError } from '../options.ts';

const thisFile = fileURLToPath(import.meta.url);

const understood: readonly (readonly [string, object])[] = [
  ['up', { command: 'up', nodes: 2, backend: 'bare', proxy: { kind: 'kmesh' }, json: false, filters: [] }],
  ['up --nodes 3 --proxy kmesh-stock', { nodes: 3, proxy: { kind: 'image', archive: undefined } }],
  ['up --backend kind', { backend: 'kind' }],
  [`up --proxy ${thisFile}`, { proxy: { kind: 'image', archive: thisFile } }],
  ['test IST-01 rolled --json', { command: 'test', filters: ['IST-01', 'rolled'], json: true }],
  ['test', { command: 'test', filters: [], from: undefined }],
  ['test rolled --from v0.1.0', { filters: ['rolled'], from: 'v0.1.0' }],
  ['istio-suite', { command: 'istio-suite', run: '.' }],
  ['istio-suite -run TestPodIP|TestServices --json', { run: 'TestPodIP|TestServices', json: true }],
  ['istio-suite -run=TestPodIP', { run: 'TestPodIP' }],
  ['use', { command: 'use' }],
  ['logs', { command: 'logs' }],
  ['down', { command: 'down' }],
];
for (const [line, expected] of understood)
  test(`understands "${line.replace(thisFile, 'FILE')}"`, async () => {
    assert.partialDeepStrictEqual(await parseOptions(line.split(' ')), expected);
  });

const refused: readonly (readonly [string, RegExp])[] = [
  ['', /which command: up, test, istio-suite, use, logs or down/],
  ['sideways', /sideways/],
  ['up down', /down/],
  ['up --nodes 0', /--nodes 0: a whole number from 1 to 5/],
  ['up --nodes 6', /--nodes 6: a whole number from 1 to 5/],
  ['up --nodes two', /--nodes NaN: a whole number/],
  ['up --backend cloud', /Argument: backend, Given: "cloud", Choices: "bare", "kind"/],
  ['up --proxy nothing.tar', /--proxy nothing\.tar: kmesh, kmesh-stock, or the path of an image archive/],
  ['down --nodes 2', /nodes/],
  ['up --from v0.1.0', /from/],
  ['istio-suite --run Test(', /--run Test\(: a regular expression, and this is none/],
];
for (const [line, message] of refused)
  test(`refuses "${line}" and says why`, async () => {
    await assert.rejects(parseOptions(line.split(' ').filter(Boolean)), (error) => {
      assert.ok(error instanceof UsageError);
      assert.match(error.message, message);
      return true;
    });
  });
