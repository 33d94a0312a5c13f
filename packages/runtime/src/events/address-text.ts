import { formatIp } from '@kmesh/orchestration';

/** Formats `ip:port`, IPv6 in brackets. */
export function endpointText(ip: string, port: number): string {
  return ip.includes(':') ? `[${ip}]:${port}` : `${ip}:${port}`;
}

/** Formats the sixteen bytes of an address in network order; IPv4 addresses are mapped. */
export function addressText(bytes: Uint8Array): string {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  return addressOfWords(view.getUint32(0), view.getUint32(4), view.getUint32(8), view.getUint32(12));
}

/** Formats an address of four words, the first one first; IPv4 addresses are mapped. */
export function addressOfWords(a: number, b: number, c: number, d: number): string {
  if (a === 0 && b === 0 && c === 0xffff) return formatIp({ family: 4, a: d, b: 0, c: 0, d: 0 });
  return formatIp({ family: 6, a, b, c, d });
}
