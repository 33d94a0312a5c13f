import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { Backoff, diagnoseEnd } from '../../src/xds/retry.ts';
import { xdsSettings as settings } from './support/client.ts';

const noJitter = (): number => 0.5;
const longEnough = 2_000;

describe('reconnecting', () => {
  test('XDS-11: after failed connections the wait is 20, 40, 80, … ms, at most 15 s', () => {
    const backoff = new Backoff(noJitter);
    const waits = Array.from({ length: 14 }, () => backoff.next('double', 0));
    assert.deepEqual(waits.slice(0, 6), [20, 40, 80, 160, 320, 640]);
    assert.deepEqual(waits.slice(-4), [15_000, 15_000, 15_000, 15_000]);
  });

  test('XDS-11: after a clean end the client reconnects at once, after a regular reconnect with the current back-off, which is then reset', () => {
    const backoff = new Backoff(noJitter);
    assert.deepEqual([backoff.next('double', 0), backoff.next('double', 0)], [20, 40]);
    assert.equal(backoff.next('current', longEnough), 40);
    assert.equal(backoff.next('current', longEnough), 10);
    assert.equal(backoff.next('atOnce', longEnough), 0);
    assert.equal(backoff.next('double', longEnough), 20);
  });

  test('a control plane that ends every stream at once causes no busy loop', () => {
    const backoff = new Backoff(noJitter);
    const waits = Array.from({ length: 8 }, () => backoff.next('atOnce', 5));
    assert.deepEqual(waits, [0, 0, 0, 20, 40, 80, 160, 320]);
    assert.equal(backoff.next('atOnce', longEnough), 0);
  });

  test('waiting times are spread by 20 % to both sides', () => {
    assert.equal(new Backoff(() => 0).next('double', 0), 16);
    assert.equal(new Backoff(() => 0.9999).next('double', 0), 24);
  });

  const ends = [
    { code: 0, details: '', transportClosed: false, reason: 'Complete', rule: 'atOnce' },
    { code: 1, details: 'Call cancelled', transportClosed: false, reason: 'Reconnect', rule: 'current' },
    { code: 2, details: 'whatever', transportClosed: false, reason: 'Reconnect', rule: 'current' },
    { code: 4, details: 'deadline', transportClosed: false, reason: 'Reconnect', rule: 'current' },
    { code: 14, details: 'Connection dropped', transportClosed: true, reason: 'Reconnect', rule: 'current' },
    { code: 13, details: 'read ECONNRESET', transportClosed: true, reason: 'Reconnect', rule: 'current' },
    { code: 14, details: 'server is not ready', transportClosed: false, reason: 'Error', rule: 'double' },
    { code: 16, details: 'authentication failure', transportClosed: false, reason: 'Error', rule: 'double' },
    { code: 8, details: 'message too long', transportClosed: true, reason: 'Error', rule: 'double' },
  ] as const;
  for (const { code, details, transportClosed, reason, rule } of ends) {
    const transport = transportClosed ? 'closed' : 'open';
    test(`XDS-12: status ${code} "${details}" with the transport ${transport} counts as ${reason}`, () => {
      const diagnosis = diagnoseEnd({ connected: true, transportClosed, code, details }, settings);
      assert.deepEqual([diagnosis.reason, diagnosis.rule], [reason, rule]);
    });
  }

  test('an end before the connection is established is a connection error', () => {
    const diagnosis = diagnoseEnd(
      {
        connected: false,
        transportClosed: false,
        code: 14,
        details:
          'No connection established. Last error: Error: connect ECONNREFUSED 1.2.3.4:5 (2026-01-01T00:00:00.000Z). Resolution note: ',
      },
      settings,
    );
    assert.deepEqual(diagnosis, {
      reason: 'ConnectionError',
      rule: 'double',
      setting: 'XDS_ADDRESS',
      cause: 'connect ECONNREFUSED 1.2.3.4:5',
    });
  });
});
