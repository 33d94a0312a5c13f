import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  buildAliasTable,
  RangeAllocator,
  type SlotRange,
  THRESHOLD_ALWAYS,
} from '../../src/tables/endpoints.ts';

/** The exact share of each item, summed over all slots. */
function shares(weights: readonly number[]): number[] {
  const result = weights.map(() => 0);
  const table = buildAliasTable(weights);
  for (const { item, alias, threshold } of table) {
    const kept = (threshold + 1) / 2 ** 32;
    result[item] = (result[item] ?? 0) + kept / table.length;
    result[alias] = (result[alias] ?? 0) + (1 - kept) / table.length;
  }
  return result;
}

for (const weights of [
  [1],
  [1, 1, 1],
  [1, 1, 2],
  [1, 3],
  [100, 1],
  [7, 7, 1, 20, 3],
  [1, 1_000_000],
  [4_294_967_295, 1],
]) {
  test(`LBA-09: weights ${weights.join(':')} give each endpoint exactly its share`, () => {
    const sum = weights.reduce((total, weight) => total + weight, 0);
    for (const [item, share] of shares(weights).entries()) {
      assert.ok(Math.abs(share - (weights[item] ?? 0) / sum) < 1e-9, `item ${item}: ${share}`);
    }
  });
}

test('equal weights never need a second choice', () => {
  for (const slot of buildAliasTable([5, 5, 5, 5, 5, 5, 5])) assert.equal(slot.threshold, THRESHOLD_ALWAYS);
});

test('a thousand random weight sets are exact', () => {
  let state = 1;
  const next = () => {
    state = (Math.imul(state, 1_103_515_245) + 12_345) >>> 0;
    return state >>> 8;
  };
  for (let round = 0; round < 1000; round++) {
    const weights = Array.from({ length: 1 + (next() % 40) }, () => 1 + (next() % 50));
    const sum = weights.reduce((total, weight) => total + weight, 0);
    for (const [item, share] of shares(weights).entries()) {
      assert.ok(Math.abs(share - (weights[item] ?? 0) / sum) < 1e-8);
    }
  }
});

test('ranges never overlap, and all can be freed', () => {
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
