import { formatIp, maskIp, type ParsedIp } from '@kmesh/orchestration';

/** Canonical text of an address of the wire, or `undefined` unless it has 4 or 16 bytes. */
export function ipText(bytes: Uint8Array): string | undefined {
  const ip = readIp(bytes, bytes.length * 8);
  return ip === undefined ? undefined : formatIp(ip);
}

/**
 * `address/length` with the address masked to the prefix, or `undefined` when the address or the length is not valid.
 * A prefix inside the range of IPv4-mapped addresses becomes the IPv4 prefix.
 */
export function cidrText(bytes: Uint8Array, length: number): string | undefined {
  if (!Number.isInteger(length) || length < 0 || length > bytes.length * 8) return undefined;
  const ip = readIp(bytes, length);
  if (ip === undefined) return undefined;
  const ownLength = ip.family === 4 && bytes.length === 16 ? length - 96 : length;
  return `${formatIp(maskIp(ip, ownLength))}/${ownLength}`;
}

/** An IPv4-mapped address is an IPv4 one, unless `length` reaches beyond the mapped range. */
function readIp(bytes: Uint8Array, length: number): ParsedIp | undefined {
  if (bytes.length !== 4 && bytes.length !== 16) return undefined;
  const a = wordAt(bytes, 0);
  if (bytes.length === 4) return { family: 4, a, b: 0, c: 0, d: 0 };
  const [b, c, d] = [wordAt(bytes, 4), wordAt(bytes, 8), wordAt(bytes, 12)];
  const mapped = a === 0 && b === 0 && c === 0xffff && length >= 96;
  return mapped ? { family: 4, a: d, b: 0, c: 0, d: 0 } : { family: 6, a, b, c, d };
}

function wordAt(bytes: Uint8Array, at: number): number {
  const byte = (index: number): number => bytes[at + index] ?? 0;
  return ((byte(0) << 24) | (byte(1) << 16) | (byte(2) << 8) | byte(3)) >>> 0;
}
