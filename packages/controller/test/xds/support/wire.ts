/** Encodes protobuf values by hand, so that tests of decoders do not depend on this repository's `.proto` files. */
export type Bytes = Buffer;

const varints = new WeakSet<Bytes>();

/** A field of a message. */
export function field(number: number, value: Bytes): Bytes {
  const wireType = varints.has(value) ? 0 : 2;
  const length = wireType === 2 ? [base128(BigInt(value.length))] : [];
  return Buffer.concat([base128(BigInt((number << 3) | wireType)), ...length, value]);
}

/** An integer; a negative one in ten bytes, as `int32` is written. */
export function varint(number: number): Bytes {
  const bytes = base128(BigInt.asUintN(64, BigInt(number)));
  varints.add(bytes);
  return bytes;
}

export function text(value: string): Bytes {
  return Buffer.from(value);
}

export function message(...fields: readonly Bytes[]): Bytes {
  return Buffer.concat(fields);
}

function base128(number: bigint): Bytes {
  const bytes: number[] = [];
  for (let rest = number; ; rest >>= 7n) {
    if (rest < 128n) return Buffer.from([...bytes, Number(rest)]);
    bytes.push(Number(rest & 127n) | 128);
  }
}
