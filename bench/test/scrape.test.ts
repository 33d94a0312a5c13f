import assert from 'node:assert/strict';
import { test } from 'node:test';
import { leastDisturbed, mixedPercentile, percentile } from '../scrape/compare.ts';

const values = (count: number, value: (index: number) => number) =>
  Array.from({ length: count }, (_, index) => value(index));

test('a percentile is the value below which that part of the values lies', () => {
  assert.equal(
    percentile(
      values(100, (index) => 100 - index),
      0.99,
    ),
    100,
  );
  assert.equal(
    percentile(
      values(1000, (index) => index),
      0.5,
    ),
    500,
  );
});

test('slow messages move the percentile of a mixture by their share, however many there are', () => {
  const quiet = values(10_000, (index) => index);
  const slow = values(7, () => 20_000);
  const mixed = (share: number) =>
    mixedPercentile(
      [
        { values: quiet, share: 1 - share },
        { values: slow, share },
      ],
      0.99,
    );
  assert.equal(mixed(0), percentile(quiet, 0.99));
  assert.ok(Math.abs(mixed(0.005) - 9950) <= 1, `${mixed(0.005)}`);
  assert.equal(mixed(0.02), 20_000);
});

test('of the quiet windows those with the lower percentiles count', () => {
  const windows = [3, 1, 4, 2, 5].map((value) => values(2, () => value));
  assert.deepEqual(leastDisturbed(windows), [1, 1, 2, 2, 3, 3]);
});
