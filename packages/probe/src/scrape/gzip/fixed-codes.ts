/**
 * The fixed Huffman codes of deflate (RFC 1951, 3.2.5 and 3.2.6), with their extra bits, as they are written: the first bit
 * lowest. Code of a symbol and number of its bits stand in arrays of the same index.
 */

export const longestCopy = 258;
export const shortestCopy = 3;
export const farthestCopy = 32_768;

/** By byte value. */
export const literalBits = new Uint16Array(256);
export const literalCounts = new Uint8Array(256);
/** By length of a copy. */
export const lengthBits = new Uint16Array(longestCopy + 1);
export const lengthCounts = new Uint8Array(longestCopy + 1);
/** By distance of a copy. */
export const distanceBits = new Uint32Array(farthestCopy + 1);
export const distanceCounts = new Uint8Array(farthestCopy + 1);
/** The end of a block is so many zero bits. */
export const endOfBlockCount = 7;

for (let byte = 0; byte < 256; byte++) {
  const [code, count] = byte < 144 ? [0x30 + byte, 8] : [0x190 + byte - 144, 9];
  literalBits[byte] = reversed(code, count);
  literalCounts[byte] = count;
}

// Eight lengths without extra bits, then four of each number of extra bits; the longest has a code of its own.
for (let symbol = 257, length = shortestCopy; symbol < 285; symbol++) {
  const extra = symbol < 265 ? 0 : (symbol - 261) >> 2;
  const [code, count] = symbol < 280 ? [symbol - 256, 7] : [0xc0 + symbol - 280, 8];
  for (let rest = 0; rest < 1 << extra; rest++, length++) {
    lengthBits[length] = reversed(code, count) | (rest << count);
    lengthCounts[length] = count + extra;
  }
}
lengthBits[longestCopy] = reversed(0xc5, 8);
lengthCounts[longestCopy] = 8;

for (let symbol = 0, distance = 1; symbol < 30; symbol++) {
  const extra = symbol < 4 ? 0 : (symbol - 2) >> 1;
  for (let rest = 0; rest < 1 << extra; rest++, distance++) {
    distanceBits[distance] = reversed(symbol, 5) | (rest << 5);
    distanceCounts[distance] = 5 + extra;
  }
}

function reversed(code: number, count: number): number {
  let result = 0;
  for (let bit = 0; bit < count; bit++) result |= ((code >> bit) & 1) << (count - 1 - bit);
  return result;
}
