import { formatIp, formatSocketAddress, parseIp } from '../../state/ip.ts';

/** A CONNECT authority (contract 6.6). */
export type Authority =
  | { readonly kind: 'address'; readonly ip: string; readonly port: number }
  | { readonly kind: 'hostname'; readonly hostname: string; readonly port: number };

const MAXIMUM_KNOWN = 1_024;
const known = new Map<string, Authority>();

/** Reads `ip:port`, `[v6]:port` or `host:port`; `undefined` for anything else. Never throws. */
export function parseAuthority(text: string | undefined): Authority | undefined {
  if (text === undefined || text.length > 300) return undefined;
  // Asked for every connection, mostly about the same few.
  const found = known.get(text);
  if (found !== undefined) return found;
  const authority = readAuthority(text);
  if (authority === undefined) return undefined;
  if (known.size >= MAXIMUM_KNOWN) known.clear();
  known.set(text, authority);
  return authority;
}

function readAuthority(text: string): Authority | undefined {
  const match = /^(?:\[([0-9a-fA-F:.]+)\]|([^\s:[\]@/\\?#]+)):(\d{1,5})$/.exec(text);
  if (match === null) return undefined;
  const [, bracketed, plain, portText] = match;
  const port = Number(portText);
  if (port < 1 || port > 65535) return undefined;
  if (bracketed !== undefined) {
    const ip = bracketed.includes(':') ? parseIp(bracketed) : undefined;
    return ip === undefined ? undefined : { kind: 'address', ip: formatIp(ip), port };
  }
  if (plain === undefined) return undefined;
  const ip = parseIp(plain);
  if (ip !== undefined) return { kind: 'address', ip: formatIp(ip), port };
  // Digits and dots that are no address are a mistyped address, not a name.
  if (/^[\d.]+$/.test(plain) || !/^[\x21-\x7e]+$/.test(plain)) return undefined;
  return { kind: 'hostname', hostname: plain, port };
}

/** Text of an authority (contract 6.2). */
export function formatAuthority(authority: Authority): string {
  return authority.kind === 'address'
    ? formatSocketAddress(authority.ip, authority.port)
    : `${authority.hostname}:${authority.port}`;
}
