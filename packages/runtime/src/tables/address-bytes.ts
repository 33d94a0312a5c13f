import { formatIp, parseIp } from '@kmesh/orchestration';

/**
 * Writes an address as `union kmesh_address`: network order, IPv4 as IPv4-mapped. False if the text is not an address.
 */
export function writeAddress(view: DataView, offset: number, ip: string): boolean {
  const parsed = parseIp(ip);
  if (parsed === undefined) return false;
  if (parsed.family === 4) {
    view.setUint32(offset, 0);
    view.setUint32(offset + 4, 0);
    view.setUint32(offset + 8, 0xffff);
    view.setUint32(offset + 12, parsed.a);
  } else {
    view.setUint32(offset, parsed.a);
    view.setUint32(offset + 4, parsed.b);
    view.setUint32(offset + 8, parsed.c);
    view.setUint32(offset + 12, parsed.d);
  }
  return true;
}

/** Writes an IPv4 address as a word in network order. False if the text is not an IPv4 address. */
export function writeAddress4(view: DataView, offset: number, ip: string): boolean {
  const parsed = parseIp(ip);
  if (parsed?.family !== 4) return false;
  view.setUint32(offset, parsed.a);
  return true;
}

/** Reads an address written by {@link writeAddress4}. */
export function readAddress4(view: DataView, offset: number): string {
  return formatIp({ family: 4, a: view.getUint32(offset), b: 0, c: 0, d: 0 });
}

/** Reads an address written by {@link writeAddress}, as canonical text. */
export function readAddress(view: DataView, offset: number): string {
  const [a, b, c, d] = [0, 4, 8, 12].map((word) => view.getUint32(offset + word)) as [
    number,
    number,
    number,
    number,
  ];
  const mapped = a === 0 && b === 0 && c === 0xffff;
  return formatIp(mapped ? { family: 4, a: d, b: 0, c: 0, d: 0 } : { family: 6, a, b, c, d });
}
