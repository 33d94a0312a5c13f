import assert from 'node:assert/strict';
import { test } from 'node:test';
import { kmeshHandoffPodLayout as layout } from '../../src/tables/gen/layouts.ts';
import { HandoffPodTable } from '../../src/tables/handoff.ts';

function fakeMap() {
  const entries = new Map<string, string>();
  const hex = (bytes: Uint8Array) => Buffer.from(bytes).toString('hex');
  return {
    entries,
    set: (key: Uint8Array, value: Uint8Array) => void entries.set(hex(key), hex(value)),
    delete: (key: Uint8Array) => entries.delete(hex(key)),
  };
}

test('a pod is known by its cookie with the first address of each family, IPv4 as IPv4-mapped', () => {
  const map = fakeMap();
  const table = new HandoffPodTable(map);
  table.set(0x1234n, ['fd00::5', '10.0.0.5', '10.0.0.6', 'fd00::6']);
  const mapped = `${'00'.repeat(10)}ffff0a000005`;
  const six = `fd00${'00'.repeat(13)}05`;
  assert.equal(layout.address4 < layout.address6, true);
  assert.deepEqual([...map.entries], [['3412000000000000', mapped + six]]);
});

test('a removed address is not kept, and a removed pod has no entry', () => {
  const map = fakeMap();
  const table = new HandoffPodTable(map);
  table.set(1n, ['10.0.0.5', 'fd00::5']);
  table.set(1n, ['10.0.0.5']);
  assert.deepEqual([...map.entries.values()], [`${'00'.repeat(10)}ffff0a000005${'00'.repeat(16)}`]);
  table.delete(1n);
  assert.equal(map.entries.size, 0);
});
