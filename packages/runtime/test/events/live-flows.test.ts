import assert from 'node:assert/strict';
import { test } from 'node:test';
import { tcpState } from '@kmesh/linux';
import { bytesCarried } from '../../src/events/live-flows.ts';

const { finWait1, closeWait, lastAck, closing } = tcpState;

test('a FIN that came between a socket’s state and its counters is no byte of it', () => {
  // Of a client that has sent 10 bytes and got 20: its SYN is acknowledged, too.
  const carried = (keptState: number, sent: number, received: number) =>
    bytesCarried({ bytesAcknowledged: 1 + 10 + sent, bytesReceived: 20 + received }, keptState, false);
  const exact = { sent: 10, received: 20 };
  assert.deepEqual(carried(0, 0, 0), exact);
  assert.deepEqual(carried(finWait1, 1, 0), exact);
  assert.deepEqual(carried(closeWait, 0, 1), exact);
  for (const both of [lastAck, closing]) assert.deepEqual(carried(both, 1, 1), exact);
});

test('a FIN that is not counted yet makes no more than a byte, and never a negative count', () => {
  const carried = (keptState: number) =>
    bytesCarried({ bytesAcknowledged: 0, bytesReceived: 5 }, keptState, true);
  assert.deepEqual(carried(finWait1), { sent: 0, received: 5 });
  assert.deepEqual(carried(closing), { sent: 0, received: 4 });
});
