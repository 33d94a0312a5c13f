import assert from 'node:assert/strict';
import { test } from 'node:test';
import { settledShare, shareBetween } from '../harness/machine-load.ts';

test('the share in use is what is neither idle nor waiting for a disk, and includes stolen time', () => {
  const before = 'cpu  100 10 50 1000 40 5 5 20 7 0\ncpu0 1 2 3';
  const after = 'cpu  120 15 60 1130 50 6 9 40 27 0\ncpu0 1 2 3';
  // 20 + 5 + 10 + 130 + 10 + 1 + 4 + 20, of which 140 idle or waiting.
  assert.equal(shareBetween(before, after), 1 - 140 / 200);
  assert.equal(shareBetween(before, before), 0);
});

test('the share of this machine is between none and all', async () => {
  const share = await settledShare();
  assert.ok(share >= 0 && share <= 1, String(share));
});
