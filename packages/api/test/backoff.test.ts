import assert from 'node:assert/strict';
import { test } from 'node:test';
import { backoffMilliseconds, doubledWait, spreadWait } from '../src/backoff.ts';

const settings = { firstMilliseconds: 1000, maximumMilliseconds: 150_000, jitter: 0.2 };

test('back-off starts at the first wait, doubles to the maximum, and spreads by the jitter', () => {
  assert.deepEqual(
    [1, 2, 3, 7, 8, 9, 400].map((failures) => backoffMilliseconds(settings, failures, 0.5)),
    [1000, 2000, 4000, 64_000, 128_000, 150_000, 150_000],
  );
  assert.deepEqual(
    [0, 1].map((random) => Math.round(backoffMilliseconds(settings, 1, random))),
    [800, 1200],
  );
});

test('jitter never raises a wait above the maximum, except for a caller that adds the jitter itself', () => {
  assert.equal(backoffMilliseconds(settings, 12, 1), 150_000);
  assert.equal(spreadWait(settings, doubledWait(settings, 12), 1), 180_000);
});
