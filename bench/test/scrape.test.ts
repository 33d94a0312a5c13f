import assert from 'node:assert/strict';
import { test } from 'node:test';
import { effectOfScrape, mixedPercentile, percentile } from '../scrape/compare.ts';

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

test('the effect of a scrape is that of its share of the messages, in each pair of windows', () => {
  const calm = values(10_000, (index) => index);
  const faster = calm.map((value) => value / 2);
  const comparison = {
    latencies: { quiet: [], scraped: [], calm: [calm, faster], often: [] },
    during: [[20_000], [0]],
    ...{ share: 0.005, durations: [], bytes: 0 },
  };
  const [slowed, unaffected] = effectOfScrape(comparison);
  assert.ok(Math.abs((slowed ?? 0) - 9950 / 9900) < 0.001, `${slowed}`);
  assert.ok(Math.abs((unaffected ?? 0) - 1) < 0.001, `${unaffected}`);
});
