import assert from 'node:assert/strict';
import { test } from 'node:test';
import { OpenHandshakes } from '../src/pod/open-handshakes.ts';

const MAXIMUM = 2_048;

test('at the limit the oldest handshake of a peer with many ends, and others go on', () => {
  const open = new OpenHandshakes<string>();
  assert.equal(open.begin('honest', '10.0.0.1'), undefined);
  for (let count = 1; count < MAXIMUM; count++)
    assert.equal(open.begin(`flood ${count}`, '10.0.0.2'), undefined);
  assert.equal(open.begin('flood again', '10.0.0.2'), 'flood 1');
  open.end('flood 2');
  assert.equal(open.begin('other', '10.0.0.3'), undefined);
});

test('at the limit with few handshakes of each peer the oldest of all ends', () => {
  const open = new OpenHandshakes<number>();
  for (let count = 0; count < MAXIMUM; count++) open.begin(count, `10.0.${count >> 8}.${count & 255}`);
  assert.equal(open.begin(MAXIMUM, '10.1.0.1'), 0);
  open.end(0);
  open.end(1);
  assert.equal(open.begin(MAXIMUM + 1, '10.1.0.1'), undefined);
  assert.equal(open.begin(MAXIMUM + 2, '10.1.0.1'), 2);
});
