import {
  distanceBits,
  distanceCounts,
  farthestCopy,
  lengthBits,
  lengthCounts,
  literalBits,
  literalCounts,
  longestCopy,
  shortestCopy,
} from './fixed-codes.ts';

/**
 * How the labels of one line are made from those of the line before: worked out once, and written at each scrape in a few
 * steps for hundreds of bytes.
 */
export interface LineCode {
  /** The labels of the line before: the code is good for no others. */
  readonly previous: Uint8Array;
  /** Bytes in common at the beginning and at the end. */
  readonly prefix: number;
  readonly suffix: number;
  /**
   * What stands between. Not negative: bits, and from bit 18 on their number. Negative: `~(length << 18 | shift)`, a
   * copy from the line before; shift is how much further right the text stands now, plus {@link shiftOffset}.
   */
  readonly steps: Int32Array;
}

export const shiftOffset = 1 << 17;
const quote = 0x22;
/** A copy within the line takes some 20 bits: shorter texts are written. */
const shortestOwnCopy = 5;

/** Labels of both lines must be shorter than this, else copies would reach too far. */
export const longestCodedLabels = farthestCopy / 2 - 1024;

/** Works out the code of `labels` after `previous`. */
export function codeLine(previous: Uint8Array, labels: Uint8Array): LineCode {
  const shorter = Math.min(previous.length, labels.length);
  const prefix = commonLength(previous, labels, 0, 0, shorter);
  let suffix = 0;
  let [left, right] = [previous.length - 1, labels.length - 1];
  for (; suffix < shorter - prefix && previous[left] === labels[right]; left--, right--) suffix++;
  const [leftEnd, rightEnd] = [previous.length - suffix, labels.length - suffix];
  const steps: number[] = [];
  [left, right] = [prefix, prefix];
  while (right < rightEnd) {
    // The labels have the same names in the same order: after a value that differs both go on behind its quote.
    const end = Math.max(nextQuote(labels, right, rightEnd), right + 1);
    writeText(steps, labels, right, end);
    right = end;
    left = nextQuote(previous, left, leftEnd);
    const length = commonLength(previous, labels, left, right, Math.min(leftEnd - left, rightEnd - right));
    if (length >= shortestCopy) copySteps(steps, length, right - left);
    else writeText(steps, labels, right, right + length);
    left += length;
    right += length;
  }
  return { previous, prefix, suffix, steps: Int32Array.from(steps) };
}

function commonLength(a: Uint8Array, b: Uint8Array, inA: number, inB: number, most: number): number {
  let length = 0;
  while (length < most && a[inA + length] === b[inB + length]) length++;
  return length;
}

function nextQuote(bytes: Uint8Array, start: number, end: number): number {
  let index = start;
  while (index < end && bytes[index] !== quote) index++;
  return index;
}

function copySteps(steps: number[], length: number, shift: number): void {
  let rest = length;
  while (rest > longestCopy) {
    const part = rest < longestCopy + shortestCopy ? longestCopy - shortestCopy : longestCopy;
    steps.push(~((part << 18) | (shift + shiftOffset)));
    rest -= part;
  }
  steps.push(~((rest << 18) | (shift + shiftOffset)));
}

/** The text itself, or a copy of the same text further left in the line. */
function writeText(steps: number[], bytes: Uint8Array, start: number, end: number): void {
  const length = end - start;
  if (length >= shortestOwnCopy && length <= longestCopy) {
    const found = Buffer.from(bytes.buffer, bytes.byteOffset, start).indexOf(bytes.subarray(start, end));
    if (found >= 0) {
      const distance = start - found;
      steps.push((lengthBits[length] as number) | ((lengthCounts[length] as number) << 18));
      steps.push((distanceBits[distance] as number) | ((distanceCounts[distance] as number) << 18));
      return;
    }
  }
  for (let index = start; index < end; index++) {
    const byte = bytes[index] as number;
    let [bits, count] = [literalBits[byte] as number, literalCounts[byte] as number];
    const next = bytes[index + 1] as number;
    if (index + 1 < end) {
      bits |= (literalBits[next] as number) << count;
      count += literalCounts[next] as number;
      index++;
    }
    steps.push(bits | (count << 18));
  }
}
