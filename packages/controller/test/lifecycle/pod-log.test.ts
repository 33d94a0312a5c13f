import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Logger } from '@kmesh/api';
import { PodLog } from '../../src/zds/pod-register.ts';

function podLog(): { readonly log: PodLog; readonly lines: string[] } {
  const lines: string[] = [];
  const logger = {
    info: (message: string, fields: Record<string, unknown>) =>
      lines.push(`${message} ${JSON.stringify(fields)}`),
  } as unknown as Logger;
  return { log: new PodLog(logger), lines };
}

const info = (name: string) => ({ name, namespace: 'shop', serviceAccount: 'default' });

test('each pod has its line, added pods before removed ones', () => {
  const { log, lines } = podLog();
  log.ends('1', info('one'));
  log.begins('2', info('two'));
  log.close();
  assert.deepEqual(lines, [
    'a pod is served {"pod":"shop/two"}',
    'a pod is no longer served {"pod":"shop/one"}',
  ]);
  log.close();
  assert.equal(lines.length, 2);
});

test('many pods at once are one line with their number', () => {
  const { log, lines } = podLog();
  for (let uid = 0; uid < 11; uid++) log.begins(`${uid}`, info(`pod-${uid}`));
  log.close();
  assert.deepEqual(lines, ['pods are served {"pods":11}']);
});

test('a pod that is added and removed before it is logged is not logged', () => {
  const { log, lines } = podLog();
  log.begins('1', info('one'));
  log.ends('1', info('one'));
  log.close();
  log.begins('2', info('two'));
  log.close();
  log.ends('2', info('two'));
  log.begins('2', info('two'));
  log.close();
  assert.deepEqual(lines, ['a pod is served {"pod":"shop/two"}']);
});
