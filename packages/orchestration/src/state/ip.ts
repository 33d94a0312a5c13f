/** An IP address as four 32-bit words, most significant first; IPv4 uses only `a`. */
export interface ParsedIp {
  readonly family: 4 | 6;
  readonly a: number;
  readonly b: number;
  readonly c: number;
  readonly d: number;
}

/** A parsed CIDR: `network` is already masked. */
interface ParsedCidr {
  readonly network: ParsedIp;
  readonly length: number;
}

/**
 * Parses IPv4 or IPv6 text. IPv4-mapped IPv6 becomes IPv4, so both spellings of an address are equal
 * (docs/contract.md 7.2). Returns `undefined` for zone ids, leading zeros in IPv4 and any other text.
 */
export function parseIp(text: string): ParsedIp | undefined {
  if (!text.includes(':')) {
    const value = parseIpv4(text);
    return value === undefined ? undefined : { family: 4, a: value, b: 0, c: 0, d: 0 };
  }
  const groups = parseIpv6(text);
  if (groups === undefined) return undefined;
  const word = (index: number) => (((groups[index] ?? 0) << 16) | (groups[index + 1] ?? 0)) >>> 0;
  const [a, b, c, d] = [word(0), word(2), word(4), word(6)];
  if (a === 0 && b === 0 && c === 0xffff) return { family: 4, a: d, b: 0, c: 0, d: 0 };
  return { family: 6, a, b, c, d };
}

/** The character code of a dot, minus that of the digit 0. */
const DOT = -2;

function parseIpv4(text: string): number | undefined {
  let value = 0;
  let octets = 0;
  let octet = 0;
  let digits = 0;
  for (let index = 0; index <= text.length; index++) {
    const digit = text.charCodeAt(index) - 48;
    if (digit >= 0 && digit <= 9) {
      if (digits > 0 && octet === 0) return undefined;
      octet = octet * 10 + digit;
      digits++;
      if (octet > 255) return undefined;
      continue;
    }
    if (index < text.length && digit !== DOT) return undefined;
    if (digits === 0 || octets === 4) return undefined;
    value = value * 256 + octet;
    octets++;
    octet = 0;
    digits = 0;
  }
  return octets === 4 ? value : undefined;
}

function parseIpv6(text: string): number[] | undefined {
  if (text.length > 45) return undefined;
  const halves = text.split('::');
  if (halves.length > 2) return undefined;
  const head = parseGroups(halves[0] ?? '', halves.length === 1);
  const tail = halves.length === 2 ? parseGroups(halves[1] ?? '', true) : [];
  if (head === undefined || tail === undefined) return undefined;
  const missing = 8 - head.length - tail.length;
  if (halves.length === 1 ? missing !== 0 : missing < 1) return undefined;
  return [...head, ...new Array<number>(missing).fill(0), ...tail];
}

function parseGroups(text: string, mayEndInIpv4: boolean): number[] | undefined {
  if (text === '') return [];
  const parts = text.split(':');
  const groups: number[] = [];
  for (const [index, part] of parts.entries()) {
    if (part.includes('.')) {
      const value = mayEndInIpv4 && index === parts.length - 1 ? parseIpv4(part) : undefined;
      if (value === undefined) return undefined;
      groups.push(value >>> 16, value & 0xffff);
    } else if (/^[0-9a-fA-F]{1,4}$/.test(part)) {
      groups.push(Number.parseInt(part, 16));
    } else {
      return undefined;
    }
  }
  return groups;
}

/** Formats an address canonically: dotted IPv4, or lower-case IPv6 with the longest run of zeros compressed. */
export function formatIp(ip: ParsedIp): string {
  if (ip.family === 4) return `${ip.a >>> 24}.${(ip.a >>> 16) & 255}.${(ip.a >>> 8) & 255}.${ip.a & 255}`;
  const groups = [ip.a, ip.b, ip.c, ip.d].flatMap((word) => [word >>> 16, word & 0xffff]);
  let runStart = -1;
  let runLength = 1;
  for (let start = 0; start < 8; start++) {
    let end = start;
    while (end < 8 && groups[end] === 0) end++;
    if (end - start > runLength) [runStart, runLength] = [start, end - start];
  }
  const hex = groups.map((group) => group.toString(16));
  if (runStart < 0) return hex.join(':');
  return `${hex.slice(0, runStart).join(':')}::${hex.slice(runStart + runLength).join(':')}`;
}

/** Returns the canonical spelling that the mesh state uses, or `undefined` if the text is not an address. */
export function canonicalIp(text: string): string | undefined {
  const parsed = parseIp(text);
  return parsed === undefined ? undefined : formatIp(parsed);
}

/** Returns the family of a valid address. */
export function ipFamily(ip: string): 4 | 6 {
  return ip.includes(':') ? 6 : 4;
}

/** Returns whether a valid address is in 127.0.0.0/8 or is ::1. */
export function isLoopback(ip: string): boolean {
  return ip === '::1' || (!ip.includes(':') && ip.startsWith('127.'));
}

/** Parses `address/length` and clears the bits beyond the length. Returns `undefined` if it is not a CIDR. */
export function parseCidr(text: string): ParsedCidr | undefined {
  const slash = text.indexOf('/');
  if (slash < 0 || !/^\d{1,3}$/.test(text.slice(slash + 1))) return undefined;
  const addressText = text.slice(0, slash);
  const ip = parseIp(addressText);
  if (ip === undefined) return undefined;
  // An IPv4-mapped prefix counts its length in IPv6 bits.
  const mapped = ip.family === 4 && addressText.includes(':') ? 96 : 0;
  const length = Number(text.slice(slash + 1)) - mapped;
  if (length < 0 || length > (ip.family === 4 ? 32 : 128)) return undefined;
  return { network: maskIp(ip, length), length };
}

/** Returns canonical `address/length` text with the address masked, or `undefined` if it is not a CIDR. */
export function canonicalCidr(text: string): string | undefined {
  const parsed = parseCidr(text);
  return parsed === undefined ? undefined : `${formatIp(parsed.network)}/${parsed.length}`;
}

/** Returns the address with every bit after `length` cleared. */
export function maskIp(ip: ParsedIp, length: number): ParsedIp {
  return {
    family: ip.family,
    a: (ip.a & wordMask(length)) >>> 0,
    b: (ip.b & wordMask(length - 32)) >>> 0,
    c: (ip.c & wordMask(length - 64)) >>> 0,
    d: (ip.d & wordMask(length - 96)) >>> 0,
  };
}

/** Returns the mask of the first `bits` bits of a 32-bit word; below 0 none, above 32 all. */
export function wordMask(bits: number): number {
  if (bits <= 0) return 0;
  return bits >= 32 ? 0xffffffff : (0xffffffff << (32 - bits)) >>> 0;
}

/** Formats `ip:port`, or `[ip]:port` for IPv6. */
export function formatSocketAddress(ip: string, port: number): string {
  return ip.includes(':') ? `[${ip}]:${port}` : `${ip}:${port}`;
}
