import type { Workload, WorkloadType } from '@kmesh/api';
import { formatIp, formatSocketAddress, parseIp } from '../state/ip.ts';

/** A header as HTTP libraries represent it: absent, one line, or several. */
export type HeaderValue = string | readonly string[] | undefined;

/** Returns the lines of a header. */
export function headerLines(value: HeaderValue): readonly string[] {
  if (value === undefined) return [];
  return typeof value === 'string' ? [value] : value;
}

/** A CONNECT authority (docs/contract.md 6.6). */
export type Authority =
  | { readonly kind: 'address'; readonly ip: string; readonly port: number }
  | { readonly kind: 'hostname'; readonly hostname: string; readonly port: number };

const MAXIMUM_KNOWN = 1_024;
const known = new Map<string, Authority>();

/** Parses `ip:port`, `[v6]:port` or `host:port`; returns `undefined` for anything else. Never throws. */
export function parseAuthority(text: string | undefined): Authority | undefined {
  if (text === undefined || text.length > 300) return undefined;
  // Called for every connection, mostly with the same few authorities.
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
  // Digits and dots that form no address are a mistyped address, not a name.
  if (/^[\d.]+$/.test(plain) || !/^[\x21-\x7e]+$/.test(plain)) return undefined;
  return { kind: 'hostname', hostname: plain, port };
}

/** Formats an authority (docs/contract.md 6.2). */
export function formatAuthority(authority: Authority): string {
  return authority.kind === 'address'
    ? formatSocketAddress(authority.ip, authority.port)
    : `${authority.hostname}:${authority.port}`;
}

/**
 * Attributes of a peer from its `baggage` header (docs/contract.md 6.3, 17); absent and empty values are `undefined`.
 */
export interface Baggage {
  readonly cluster?: string | undefined;
  readonly namespace?: string | undefined;
  readonly workloadType?: WorkloadType | undefined;
  readonly workloadName?: string | undefined;
  readonly serviceName?: string | undefined;
  readonly serviceVersion?: string | undefined;
  readonly region?: string | undefined;
  readonly zone?: string | undefined;
}

const WORKLOAD_TYPES: readonly WorkloadType[] = ['deployment', 'cronjob', 'pod', 'job'];
const TOKEN = /^[\w.-]+$/;
/** More than any real peer sends; a header block is limited to 64 KiB anyway. */
const MAXIMUM_ENTRIES = 1_000;

/** Formats the `baggage` of a workload: its non-empty values in the order of docs/contract.md 6.3. */
export function formatBaggage(workload: Workload): string {
  const entries: [string, string][] = [
    ['k8s.cluster.name', workload.clusterId],
    ['k8s.namespace.name', workload.namespace],
    // A type from a local mesh file is any text.
    [`k8s.${workload.workloadType}.name`, TOKEN.test(workload.workloadType) ? workload.workloadName : ''],
    ['service.name', workload.canonicalName],
    ['service.version', workload.canonicalRevision],
    ['cloud.region', workload.locality.region],
    ['cloud.availability_zone', workload.locality.zone],
  ];
  return entries
    .filter(([, value]) => value !== '')
    .map(([key, value]) => `${key}=${value}`)
    .join(',');
}

/**
 * Parses `baggage`: any number of lines; unknown keys are ignored, an empty value unsets, a value ends at a second `=`.
 * Returns `undefined` without such a header. Never throws.
 */
export function parseBaggage(value: HeaderValue): Baggage | undefined {
  const lines = headerLines(value);
  if (lines.length === 0) return undefined;
  const baggage: { -readonly [Key in keyof Baggage]: Baggage[Key] } = {};
  for (const line of lines) {
    for (const entry of line.split(',', MAXIMUM_ENTRIES)) {
      const [key, text] = entry.split('=', 2);
      if (key === undefined || text === undefined) continue;
      readEntry(baggage, key.trim(), text.trim() || undefined);
    }
  }
  return baggage;
}

function readEntry(
  baggage: { -readonly [Key in keyof Baggage]: Baggage[Key] },
  key: string,
  value: string | undefined,
): void {
  switch (key) {
    case 'k8s.cluster.name':
      baggage.cluster = value;
      return;
    case 'k8s.namespace.name':
      baggage.namespace = value;
      return;
    case 'service.name':
      baggage.serviceName = value;
      return;
    case 'service.version':
      baggage.serviceVersion = value;
      return;
    case 'cloud.region':
      baggage.region = value;
      return;
    case 'cloud.availability_zone':
      baggage.zone = value;
      return;
  }
  const type = WORKLOAD_TYPES.find((candidate) => key === `k8s.${candidate}.name`);
  if (type === undefined) return;
  baggage.workloadType = value === undefined ? undefined : type;
  baggage.workloadName = value;
}

/**
 * Formats `forwarded`: the client's address, and the service's host name if the call addressed a service
 * (docs/contract.md 6.2).
 */
export function formatForwarded(clientIp: string, clientPort: number, serviceHostname?: string): string {
  const client = `for="${formatSocketAddress(clientIp, clientPort)}"`;
  return serviceHostname === undefined ? client : `${client};host=${serviceHostname}`;
}

/**
 * Parses the `host=` parameter of `forwarded`, quoted or plain (docs/contract.md 7.7). Returns `undefined` if it is
 * absent or empty, or the header is not ASCII. For telemetry only, never for authorization. Never throws.
 */
export function forwardedHost(value: HeaderValue): string | undefined {
  for (const line of headerLines(value)) {
    if (!isAscii(line)) continue;
    for (const element of line.split(/[;,]/)) {
      const equals = element.indexOf('=');
      if (equals < 0 || element.slice(0, equals).trim().toLowerCase() !== 'host') continue;
      const host = unquote(element.slice(equals + 1).trim());
      if (host !== '') return host;
    }
  }
  return undefined;
}

function unquote(text: string): string {
  return text.length >= 2 && text.startsWith('"') && text.endsWith('"') ? text.slice(1, -1) : text;
}

function isAscii(text: string): boolean {
  for (let index = 0; index < text.length; index++) {
    const code = text.charCodeAt(index);
    if (code < 0x20 || code > 0x7e) return false;
  }
  return true;
}
