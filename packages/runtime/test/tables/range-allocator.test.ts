import assert from 'node:assert/strict';
import { test } from 'node:test';
import { RangeAllocator, type SlotRange } from '../../src/tables/range-allocator.ts';

test('ranges never overlap and everything can be given back', () => {
  const allocator = new RangeAllocator(1000);
  const live: SlotRange[] = [];
  const owner = new Array<number>(1000).fill(0);
  let state = 7;
  const next = () => {
    state = (Math.imul(state, 1_103_515_245) + 12_345) >>> 0;
    return state >>> 8;
  };
  for (let round = 1; round <= 20_000; round++) {
    const size = 1 + (next() % 40);
    const range = next() % 2 === 0 ? allocator.allocate(size) : undefined;
    if (range !== undefined) {
      for (let slot = range.base; slot < range.base + range.size; slot++) {
        assert.equal(owner[slot], 0);
        owner[slot] = round;
      }
      live.push(range);
    } else if (live.length > 0) {
      const [gone] = live.splice(next() % live.length, 1);
      if (gone === undefined) continue;
      allocator.free(gone);
      owner.fill(0, gone.base, gone.base + gone.size);
    }
  }
  for (const range of live) allocator.free(range);
  assert.equal(allocator.used, 0);
  assert.notEqual(allocator.allocate(512), undefined, 'freed blocks are joined again');
});

test('a range that does not fit is refused', () => {
  const allocator = new RangeAllocator(16);
  assert.notEqual(allocator.allocate(16), undefined);
  assert.equal(allocator.allocate(1), undefined);
});

test('capacities that are no power of two are used to the last slot', () => {
  const allocator = new RangeAllocator(100);
  let count = 0;
  while (allocator.allocate(1) !== undefined) count++;
  assert.equal(count, 100);
});
