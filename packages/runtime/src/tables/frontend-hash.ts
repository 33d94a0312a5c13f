import { kmeshConstant } from './gen/layouts.ts';

/** Words of `struct kmesh_frontend_key` in the order in which the keys of the hash belong to them; see frontends.h. */
const wordOrder = [3, 4, 5, 2, 1, 0] as const;

/**
 * The hash of `frontends` as in bpf/frontends.h: the upper half of `keys[0] + Σ keys[i] × word` modulo 2^64. Products of 64
 * and 32 bits are put together from exact ones of 16 and 32.
 *
 * @param keys random numbers, `KMESH_HASH_KEYS` of them
 * @returns a function of the six 32-bit words of a key, as a program loads them
 */
export function frontendHash(keys: BigUint64Array): (words: Uint32Array) => number {
  if (keys.length !== kmeshConstant.hashKeys) throw new RangeError(`${keys.length} hash keys`);
  const part = (shift: bigint, mask: bigint) =>
    Float64Array.from(keys, (key) => Number((key >> shift) & mask));
  const low = part(0n, 0xffffn);
  const middle = part(16n, 0xffffn);
  const high = Int32Array.from(part(32n, 0xffff_ffffn), (key) => key | 0);
  return (words) => {
    let lowSum = low[0] ?? 0;
    let middleSum = middle[0] ?? 0;
    let highSum = high[0] ?? 0;
    for (let index = 0; index < wordOrder.length; index++) {
      const word = words[wordOrder[index] ?? 0] ?? 0;
      lowSum += (low[index + 1] ?? 0) * word;
      middleSum += (middle[index + 1] ?? 0) * word;
      highSum = (highSum + Math.imul(high[index + 1] ?? 0, word)) | 0;
    }
    const carried = Math.floor((Math.floor(lowSum / 0x1_0000) + middleSum) / 0x1_0000);
    // What is above 32 bits is beyond the 64 of the sum; the shift leaves it out.
    return (highSum + carried) >>> 0;
  };
}
