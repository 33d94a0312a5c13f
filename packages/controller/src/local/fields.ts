import type { GatewayAddress, GatewayDestination, NetworkAddress, PortMap } from '@kmesh/api';
import { canonicalIp } from '@kmesh/orchestration';
import type { Field, YamlReader } from './yaml-reader.ts';

/** A map of ports to ports; 0 is allowed only as a target. */
export function readPorts(reader: YamlReader, field: Field | undefined): PortMap {
  const ports = new Map<number, number>();
  for (const [key, target] of reader.map(field)) {
    const port = /^\d{1,5}$/.test(key) ? Number(key) : 0;
    if (port < 1 || port > 65535) {
      reader.problem(target, `a key that is a port from 1 to 65535 (the key here is ${JSON.stringify(key)})`);
      continue;
    }
    ports.set(port, reader.number(target, 65535));
  }
  return ports;
}

/** A list of texts. */
export function readTexts(reader: YamlReader, field: Field | undefined): string[] {
  return reader.list(field).map((item) => reader.text(item));
}

/** A list of IP addresses in canonical form. */
export function readIps(reader: YamlReader, field: Field | undefined): string[] {
  return reader
    .list(field)
    .flatMap((item) => reader.parsed(item, 'an IPv4 or IPv6 address', canonicalIp) ?? []);
}

/** A list of `network/ip`. */
export function readNetworkAddresses(reader: YamlReader, field: Field | undefined): NetworkAddress[] {
  return reader
    .list(field)
    .flatMap(
      (item) =>
        reader.parsed(item, '"network/ip", or "/ip" for the empty network', parseNetworkAddress) ?? [],
    );
}

/** `{destination, hboneMtlsPort}`, both required; `undefined` when absent. */
export function readGateway(reader: YamlReader, field: Field | undefined): GatewayAddress | undefined {
  if (reader.isAbsent(field)) return undefined;
  const fields = reader.object(field, ['destination', 'hboneMtlsPort'], []);
  const allowed = '"network/ip" or "namespace/hostname"';
  const destination =
    fields.destination && reader.parsed(fields.destination, allowed, parseGatewayDestination);
  const hboneMtlsPort = reader.number(fields.hboneMtlsPort, 65535);
  return destination === undefined ? undefined : { destination, hboneMtlsPort };
}

/** A key of two non-empty parts, `namespace/name`. */
export function parseKey(text: string): string | undefined {
  const slash = text.indexOf('/');
  return slash > 0 && slash < text.length - 1 && !text.includes('/', slash + 1) ? text : undefined;
}

function parseNetworkAddress(text: string): NetworkAddress | undefined {
  const slash = text.indexOf('/');
  const ip = slash < 0 ? undefined : canonicalIp(text.slice(slash + 1));
  return ip === undefined ? undefined : { network: text.slice(0, slash), ip };
}

function parseGatewayDestination(text: string): GatewayDestination | undefined {
  const address = parseNetworkAddress(text);
  if (address !== undefined) return { kind: 'address', ...address };
  if (parseKey(text) === undefined) return undefined;
  const slash = text.indexOf('/');
  return { kind: 'hostname', namespace: text.slice(0, slash), hostname: text.slice(slash + 1) };
}
