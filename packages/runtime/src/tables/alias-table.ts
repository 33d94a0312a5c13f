/** The threshold of a slot that never gives its draw away. */
export const THRESHOLD_ALWAYS = 0xffff_ffff;

/** One slot: an item, and the item that takes the draws of 2^32 which are above `threshold`. */
interface AliasSlot {
  readonly item: number;
  readonly alias: number;
  readonly threshold: number;
}

/**
 * Vose's alias table for items of positive weights: one slot per item, so that a uniform slot and one comparison
 * draw each item in proportion to its weight. Exact to one draw in 2^32 for whole weights, to a few for shares.
 */
export function buildAliasTable(weights: readonly number[]): AliasSlot[] {
  const count = weights.length;
  let sum = 0;
  for (const weight of weights) sum += weight;
  if (weights.every((weight) => weight * count === sum)) {
    return weights.map((_weight, item) => ({ item, alias: item, threshold: THRESHOLD_ALWAYS }));
  }
  // In units of sum / count per slot whole weights stay whole numbers.
  const rest = weights.map((weight) => weight * count);
  const slots: AliasSlot[] = weights.map((_weight, item) => ({
    item,
    alias: item,
    threshold: THRESHOLD_ALWAYS,
  }));
  const small: number[] = [];
  const large: number[] = [];
  for (const [item, share] of rest.entries()) (share < sum ? small : large).push(item);
  for (;;) {
    const less = small.pop();
    const more = large.pop();
    if (less === undefined || more === undefined) break;
    const share = rest[less] ?? 0;
    slots[less] = {
      item: less,
      alias: more,
      threshold: Math.max(Math.floor((share / sum) * 2 ** 32) - 1, 0),
    };
    const left = (rest[more] ?? 0) - (sum - share);
    rest[more] = left;
    (left < sum ? small : large).push(more);
  }
  return slots;
}
