import assert from 'node:assert/strict';
import { test } from 'node:test';
import { runRandomEndings } from '@kmesh/lab/testing/tunnel/random-endings.ts';

// `npm run test:long -- endings` runs 10,000.
const EXCHANGES = 400;

test(`HBN-10, HBN-11: ${EXCHANGES} random exchanges with a waypoint that ends streams in every way lose no byte`, {
  timeout: 120_000,
}, async (context) => {
  const done = await runRandomEndings(EXCHANGES);
  context.diagnostic(JSON.stringify(Object.fromEntries(done)));
  assert.equal(
    [...done.values()].reduce((sum, count) => sum + count, 0),
    EXCHANGES,
  );
});
