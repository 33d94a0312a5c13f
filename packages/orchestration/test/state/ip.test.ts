import assert from 'node:assert/strict';
import { isIP } from 'node:net';
import { describe, test } from 'node:test';
import { canonicalCidr, canonicalIp, formatSocketAddress, isLoopback } from '../../src/state/ip.ts';
import { seededRandom } from '../fixtures.ts';

describe('IP addresses', () => {
  const rows: [string, string | undefined][] = [
    ['10.0.0.1', '10.0.0.1'],
    ['255.255.255.255', '255.255.255.255'],
    ['::', '::'],
    ['::1', '::1'],
    ['FD00:0:0:0:0:0:0:1', 'fd00::1'],
    ['2001:db8:0:1:1:1:1:1', '2001:db8:0:1:1:1:1:1'],
    ['1:0:0:2:0:0:0:3', '1:0:0:2::3'],
    ['::ffff:10.0.0.1', '10.0.0.1'],
    ['::ffff:a00:1', '10.0.0.1'],
    ['64:ff9b::10.0.0.1', '64:ff9b::a00:1'],
    ['1::', '1::'],
    ['10.0.0', undefined],
    ['10.0.0.256', undefined],
    ['10.0.0.01', undefined],
    ['1:2:3:4:5:6:7', undefined],
    ['1:2:3:4:5:6:7:8:9', undefined],
    ['1::2::3', undefined],
    ['1:2:3:4:5:6:7:8::', undefined],
    [':1::2', undefined],
    ['fe80::1%eth0', undefined],
    ['10.0.0.1::', undefined],
    ['', undefined],
    ['text', undefined],
  ];
  for (const [text, expected] of rows) {
    test(`reads "${text}" as ${expected}`, () => assert.equal(canonicalIp(text), expected));
  }

  test('agrees with the standard library on random text', () => {
    const random = seededRandom(9);
    const alphabet = ['0', '1', 'ff', ':', '::', '.', '10', '255', '256', 'g'];
    for (let round = 0; round < 20_000; round++) {
      const length = 1 + Math.floor(random() * 14);
      const text = Array.from({ length }, () => alphabet[Math.floor(random() * alphabet.length)]).join('');
      const canonical = canonicalIp(text);
      assert.equal(canonical !== undefined, isIP(text) !== 0, text);
      if (canonical === undefined || !canonical.includes(':')) continue;
      assert.equal(canonical, new URL(`http://[${text}]`).hostname.slice(1, -1), text);
    }
  });

  test('masks CIDRs and refuses invalid ones', () => {
    assert.equal(canonicalCidr('10.1.2.3/8'), '10.0.0.0/8');
    assert.equal(canonicalCidr('fd00::1/64'), 'fd00::/64');
    assert.equal(canonicalCidr('0.0.0.0/0'), '0.0.0.0/0');
    assert.equal(canonicalCidr('::ffff:10.1.2.3/104'), '10.0.0.0/8');
    for (const text of ['10.0.0.0', '10.0.0.0/33', '::/129', '10.0.0.0/-1', '10.0.0.0/', '/8', 'x/8']) {
      assert.equal(canonicalCidr(text), undefined, text);
    }
  });

  test('formats socket addresses and knows loopback', () => {
    assert.equal(formatSocketAddress('fd00::1', 80), '[fd00::1]:80');
    assert.deepEqual(['127.9.9.9', '::1', '128.0.0.1', '::2'].map(isLoopback), [true, true, false, false]);
  });
});
