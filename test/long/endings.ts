/**
 * 10,000 random exchanges with a waypoint that ends streams, sessions and sockets in every way, with fast and slow
 * readers: every byte arrives, and every end is as in docs/endings.md. `npm run test:long -- endings`
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { runRandomEndings } from '@kmesh/lab/testing/tunnel/random-endings.ts';

const EXCHANGES = 10_000;

test(`${EXCHANGES} random exchanges lose no byte`, async (context) => {
  const done = await runRandomEndings(EXCHANGES);
  context.diagnostic(JSON.stringify(Object.fromEntries(done)));
  assert.equal(
    [...done.values()].reduce((sum, count) => sum + count, 0),
    EXCHANGES,
  );
});
