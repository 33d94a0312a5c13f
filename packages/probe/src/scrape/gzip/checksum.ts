import { crc32 } from 'node:zlib';

/** CRC-32, reflected: x^0 is the highest bit. */
const polynomial = 0xedb88320;

/** The product of two polynomials modulo the checksum's. */
export function multiply(left: number, right: number): number {
  let product = 0;
  let shifted = right;
  for (let bit = 31; bit >= 0; bit--) {
    if ((left >>> bit) & 1) product ^= shifted;
    shifted = shifted & 1 ? (shifted >>> 1) ^ polynomial : shifted >>> 1;
  }
  return product >>> 0;
}

/** x to the power of 8 × `bytes`: what a checksum is multiplied by when so many bytes follow. */
export function power(bytes: number): number {
  // x^8
  let square = 1 << 23;
  let result = 1 << 31;
  for (let rest = bytes; rest > 0; rest = Math.floor(rest / 2)) {
    if (rest % 2 === 1) result = multiply(square, result);
    square = multiply(square, square);
  }
  return result;
}

/** By number of bytes: products for each of the eight hexadecimal digits of a checksum, 16 for each. */
const shifts: (Uint32Array | undefined)[] = [];

function shiftTable(bytes: number): Uint32Array {
  const table = new Uint32Array(128);
  const factor = power(bytes);
  for (let digit = 0; digit < 8; digit++) {
    for (let value = 0; value < 16; value++)
      table[digit * 16 + value] = multiply(factor, (value << (digit * 4)) >>> 0);
  }
  shifts[bytes] = table;
  return table;
}

/** The checksum of two texts in a row, from those of each. The lengths should be of few kinds: each has a table. */
export function joinChecksums(first: number, second: number, secondLength: number): number {
  const table = shifts[secondLength] ?? shiftTable(secondLength);
  return (
    ((table[first & 15] as number) ^
      (table[16 + ((first >>> 4) & 15)] as number) ^
      (table[32 + ((first >>> 8) & 15)] as number) ^
      (table[48 + ((first >>> 12) & 15)] as number) ^
      (table[64 + ((first >>> 16) & 15)] as number) ^
      (table[80 + ((first >>> 20) & 15)] as number) ^
      (table[96 + ((first >>> 24) & 15)] as number) ^
      (table[112 + (first >>> 28)] as number) ^
      second) >>>
    0
  );
}

const byByte = Uint32Array.from({ length: 256 }, (_, byte) => {
  let value = byte;
  for (let bit = 0; bit < 8; bit++) value = value & 1 ? (value >>> 1) ^ polynomial : value >>> 1;
  return value;
});

/** The checksum when a few more bytes follow. */
export function extendChecksum(checksum: number, bytes: Uint8Array, end: number): number {
  let value = ~checksum;
  for (let index = 0; index < end; index++)
    value = (byByte[(value ^ (bytes[index] as number)) & 255] as number) ^ (value >>> 8);
  return ~value >>> 0;
}

export { crc32 };
