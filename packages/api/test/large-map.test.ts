import assert from 'node:assert/strict';
import { test } from 'node:test';
import { LargeMap } from '../src/large-map.ts';

test('a large map behaves like a Map', () => {
  const large = new LargeMap<number>();
  const plain = new Map<string, number>();
  for (let index = 0; index < 5_000; index++) {
    const key = `key-${(index * 7919) % 1_000}`;
    if (index % 3 === 0) assert.equal(large.delete(key), plain.delete(key));
    else {
      large.set(key, index);
      plain.set(key, index);
    }
  }
  assert.equal(large.size, plain.size);
  assert.deepEqual(new Map(large), new Map(plain));
  assert.deepEqual(new Set(large.keys()), new Set(plain.keys()));
  assert.deepEqual(new Set(large.values()), new Set(plain.values()));
  for (const key of plain.keys()) assert.ok(large.has(key) && large.get(key) === plain.get(key));
  large.clear();
  assert.equal(large.size, 0);
});
