/**
 * IP addresses of the wire (4 or 16 bytes) as canonical text: dotted IPv4, compressed lower-case IPv6 (RFC 5952),
 * IPv4-mapped IPv6 written as IPv4.
 */

/** Canonical text, or `undefined` unless there are 4 or 16 bytes. */
export function ipText(bytes: Uint8Array): string | undefined {
  if (bytes.length === 4) return ipv4Text(bytes, 0);
  if (bytes.length !== 16) return undefined;
  return isMapped(bytes) ? ipv4Text(bytes, 12) : ipv6Text(bytes);
}

/**
 * `address/length` with the address masked to the prefix, or `undefined` when the address or the length is not valid.
 * A prefix inside the IPv4-mapped range becomes the IPv4 prefix.
 */
export function cidrText(bytes: Uint8Array, length: number): string | undefined {
  if (bytes.length !== 4 && bytes.length !== 16) return undefined;
  if (!Number.isInteger(length) || length < 0 || length > bytes.length * 8) return undefined;
  const mapped = bytes.length === 16 && length >= 96 && isMapped(bytes);
  const masked = maskBits(bytes, length);
  if (mapped) return `${ipv4Text(masked, 12)}/${length - 96}`;
  return bytes.length === 4 ? `${ipv4Text(masked, 0)}/${length}` : `${ipv6Text(masked)}/${length}`;
}

function maskBits(bytes: Uint8Array, length: number): Uint8Array {
  const masked = new Uint8Array(bytes.length);
  const whole = length >> 3;
  masked.set(bytes.subarray(0, whole));
  const rest = length & 7;
  if (rest > 0) masked[whole] = (bytes[whole] ?? 0) & (0xff << (8 - rest));
  return masked;
}

function isMapped(bytes: Uint8Array): boolean {
  for (let index = 0; index < 10; index++) if (bytes[index] !== 0) return false;
  return bytes[10] === 0xff && bytes[11] === 0xff;
}

function ipv4Text(bytes: Uint8Array, at: number): string {
  return `${bytes[at]}.${bytes[at + 1]}.${bytes[at + 2]}.${bytes[at + 3]}`;
}

function ipv6Text(bytes: Uint8Array): string {
  const groups: number[] = [];
  for (let at = 0; at < 16; at += 2) groups.push(((bytes[at] ?? 0) << 8) | (bytes[at + 1] ?? 0));
  const { start, length } = longestZeroRun(groups);
  const hex = (from: number, to: number): string =>
    groups
      .slice(from, to)
      .map((group) => group.toString(16))
      .join(':');
  return length < 2 ? hex(0, 8) : `${hex(0, start)}::${hex(start + length, 8)}`;
}

function longestZeroRun(groups: readonly number[]): { start: number; length: number } {
  let best = { start: 0, length: 0 };
  let run = 0;
  groups.forEach((group, index) => {
    run = group === 0 ? run + 1 : 0;
    if (run > best.length) best = { start: index - run + 1, length: run };
  });
  return best;
}
