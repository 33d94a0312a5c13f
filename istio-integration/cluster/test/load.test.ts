import assert from 'node:assert/strict';
import { test } from 'node:test';
import { kindsOf, lostOf } from '../cases/load.ts';

const line = (second: number, why: string): string =>
  `2026-11-29T15:00:0${second}.000000Z\tdebug\tforwarder\trequest failed: Get "http://10.125.0.7:80": ${why}\n`;

test('lost requests of a client are counted by time and kind, unanswered ones included', () => {
  const refused = 'dial tcp 10.125.0.7:80: connect: connection refused';
  const log =
    `2026-11-29T15:00:00.000000Z\tinfo\tsomething else\n${line(1, refused)}${line(2, refused)}` +
    line(3, 'read tcp 10.124.1.2:4000->10.125.0.7:80: read: connection reset by peer');
  const lost = lostOf(log, 100);
  assert.deepEqual(
    lost.map(({ at }) => new Date(at).getUTCSeconds()),
    [1, 2, 3],
  );
  assert.equal(
    kindsOf(lost),
    '2 × dial tcp ADDRESS: connect: connection refused; 1 × read tcp ADDRESS->ADDRESS: read: connection reset by peer',
  );
  const cut = lostOf(
    `${log}fatal\tError request set timed out after 12s and only 95/100 requests completed`,
    100,
  );
  assert.equal(cut.length, 5);
  assert.equal(kindsOf(cut.slice(3)), '2 × no answer within the time of its batch');
  assert.deepEqual(lostOf('', 100), []);
});
