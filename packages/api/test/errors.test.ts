import assert from 'node:assert/strict';
import { test } from 'node:test';
import { exitCode, KmeshError } from '../src/errors.ts';

test('a process ends with the exit code that is registered for its error, else with 1', () => {
  assert.equal(exitCode(new KmeshError('KMESH_USAGE', 'no such command')), 2);
  assert.equal(exitCode(new KmeshError('KMESH_CONFIG_INVALID', 'no such mode')), 1);
  assert.equal(exitCode(new KmeshError('KMESH_CA_REFUSED', 'not at the start')), 1);
  assert.equal(exitCode(new Error('unexpected')), 1);
  assert.equal(exitCode(Object.assign(new Error('of another version'), { code: 'KMESH_OF_TOMORROW' })), 1);
});
