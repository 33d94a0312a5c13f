/**
 * The parts of DER (X.690) that are needed to write certificates, requests and revocation lists, and to read requests.
 *
 * Deliberately independent of the controller's encoder: each is checked against the other and against OpenSSL, so that
 * an error in one is detected.
 */

const universal = {
  boolean: 0x01,
  integer: 0x02,
  bitString: 0x03,
  octetString: 0x04,
  objectIdentifier: 0x06,
  utf8String: 0x0c,
  sequence: 0x30,
  set: 0x31,
  utcTime: 0x17,
  generalizedTime: 0x18,
} as const;

function lengthBytes(length: number): Buffer {
  if (length < 0x80) return Buffer.from([length]);
  const digits: number[] = [];
  for (let rest = length; rest > 0; rest = Math.floor(rest / 256)) digits.unshift(rest % 256);
  return Buffer.from([0x80 | digits.length, ...digits]);
}

/** One element: tag, length and the concatenated content. */
export function element(tag: number, ...content: readonly Uint8Array[]): Buffer {
  const body = Buffer.concat(content);
  return Buffer.concat([Buffer.from([tag]), lengthBytes(body.length), body]);
}

export function sequence(...content: readonly Uint8Array[]): Buffer {
  return element(universal.sequence, ...content);
}

export function set(...content: readonly Uint8Array[]): Buffer {
  return element(universal.set, ...content);
}

export function boolean(value: boolean): Buffer {
  return element(universal.boolean, Buffer.from([value ? 0xff : 0]));
}

/** A non-negative INTEGER, with the leading zero that keeps it positive. */
export function integer(value: bigint | number): Buffer {
  let hex = BigInt(value).toString(16);
  if (hex.length % 2 === 1) hex = `0${hex}`;
  const bytes = Buffer.from(hex, 'hex');
  const positive = (bytes[0] ?? 0) >= 0x80 ? Buffer.concat([Buffer.from([0]), bytes]) : bytes;
  return element(universal.integer, positive);
}

/** Bits are counted from the left, as ASN.1 does: `bits(0, 2)` sets the first and the third. */
export function bits(...positions: readonly number[]): Buffer {
  const highest = Math.max(...positions);
  const bytes = Buffer.alloc((highest >> 3) + 1);
  for (const position of positions)
    bytes[position >> 3] = (bytes[position >> 3] ?? 0) | (0x80 >> (position & 7));
  return element(universal.bitString, Buffer.from([7 - (highest & 7)]), bytes);
}

/** A BIT STRING of whole bytes. */
export function bitString(bytes: Uint8Array): Buffer {
  return element(universal.bitString, Buffer.from([0]), bytes);
}

export function octetString(bytes: Uint8Array): Buffer {
  return element(universal.octetString, bytes);
}

export function utf8String(text: string): Buffer {
  return element(universal.utf8String, Buffer.from(text, 'utf8'));
}

/** OBJECT IDENTIFIER from its dotted form. */
export function objectIdentifier(dotted: string): Buffer {
  const [first = 0, second = 0, ...rest] = dotted.split('.').map(Number);
  const bytes: number[] = [first * 40 + second];
  for (const arc of rest) {
    const digits = [arc & 0x7f];
    for (let left = arc >>> 7; left > 0; left >>>= 7) digits.unshift((left & 0x7f) | 0x80);
    bytes.push(...digits);
  }
  return element(universal.objectIdentifier, Buffer.from(bytes));
}

/** UTCTime until 2049, GeneralizedTime from 2050, as RFC 5280 4.1.2.5 requires. Whole seconds. */
export function time(date: Date): Buffer {
  const digits = date.toISOString().replaceAll(/[-:T]/g, '').slice(0, 14);
  const year = date.getUTCFullYear();
  if (year >= 1950 && year < 2050) return element(universal.utcTime, Buffer.from(`${digits.slice(2)}Z`));
  return element(universal.generalizedTime, Buffer.from(`${digits}Z`));
}

/** `[number] EXPLICIT`: the content is a complete element. */
export function explicit(number: number, ...content: readonly Uint8Array[]): Buffer {
  return element(0xa0 | number, ...content);
}

/** `[number] IMPLICIT` of a primitive type: the content replaces the type's own. */
export function implicit(number: number, content: Uint8Array): Buffer {
  return element(0x80 | number, content);
}

export interface DerElement {
  readonly tag: number;
  readonly content: Buffer;
  /** Tag and length included. */
  readonly raw: Buffer;
}

/** Reads consecutive elements. Throws a RangeError when they do not fill `bytes` exactly. */
export function readElements(bytes: Buffer): DerElement[] {
  const elements: DerElement[] = [];
  let offset = 0;
  while (offset < bytes.length) {
    const tag = bytes.readUInt8(offset);
    let length = bytes.readUInt8(offset + 1);
    let start = offset + 2;
    if (length >= 0x80) {
      const digits = length & 0x7f;
      if (digits === 0 || digits > 4) throw new RangeError('DER length is indefinite or too long');
      length = bytes.readUIntBE(start, digits);
      start += digits;
    }
    if (start + length > bytes.length) throw new RangeError('DER element ends after its container');
    elements.push({
      tag,
      content: bytes.subarray(start, start + length),
      raw: bytes.subarray(offset, start + length),
    });
    offset = start + length;
  }
  return elements;
}

/** The dotted form of the content of an OBJECT IDENTIFIER. */
export function readObjectIdentifier(content: Buffer): string {
  const arcs: number[] = [];
  let value = 0;
  for (const byte of content) {
    value = value * 128 + (byte & 0x7f);
    if (byte < 0x80) {
      if (arcs.length === 0)
        arcs.push(Math.min(2, Math.floor(value / 40)), value - 40 * Math.min(2, Math.floor(value / 40)));
      else arcs.push(value);
      value = 0;
    }
  }
  return arcs.join('.');
}

/** Wraps DER in PEM armour with lines of 64 characters. */
export function toPem(label: string, der: Uint8Array): string {
  const lines =
    Buffer.from(der)
      .toString('base64')
      .match(/.{1,64}/g) ?? [];
  return `-----BEGIN ${label}-----\n${lines.join('\n')}\n-----END ${label}-----\n`;
}

/** The DER of the first PEM block with this label. Throws when there is none. */
export function fromPem(label: string, pem: string): Buffer {
  const match = new RegExp(`-----BEGIN ${label}-----([A-Za-z0-9+/=\\s]+)-----END ${label}-----`).exec(pem);
  if (match?.[1] === undefined) throw new RangeError(`no PEM block "${label}"`);
  return Buffer.from(match[1], 'base64');
}
