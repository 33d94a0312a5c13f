import assert from 'node:assert/strict';
import { test } from 'node:test';
import { buildAliasTable, THRESHOLD_ALWAYS } from '../../src/tables/alias-table.ts';

/** The exact share of each item, added up over all slots. */
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
