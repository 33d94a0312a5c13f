import { formatIp } from '@kmesh/orchestration';

/** A `union kmesh_address` (16 bytes, IPv4 as IPv4-mapped) as text. */
export function addressText(bytes: Uint8Array, offset: number): string {
  const word = (index: number) =>
    (((bytes[offset + index] ?? 0) << 24) |
      ((bytes[offset + index + 1] ?? 0) << 16) |
      ((bytes[offset + index + 2] ?? 0) << 8) |
      (bytes[offset + index + 3] ?? 0)) >>>
    0;
  const [a, b, c, d] = [word(0), word(4), word(8), word(12)];
  if (a === 0 && b === 0 && c === 0xffff) return formatIp({ family: 4, a: d, b: 0, c: 0, d: 0 });
  return formatIp({ family: 6, a, b, c, d });
}

/** A port in network order. */
export function portAt(bytes: Uint8Array, offset: number): number {
  return ((bytes[offset] ?? 0) << 8) | (bytes[offset + 1] ?? 0);
}

/** `ip:port`, IPv6 in brackets. */
export function endpointText(ip: string, port: number): string {
  return ip.includes(':') ? `[${ip}]:${port}` : `${ip}:${port}`;
}
