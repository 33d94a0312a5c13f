import { type GatewayAddress, KmeshError, type Locality, type PortMap, type workloadProto } from '@kmesh/api';
import { formatIp, maskIp, type ParsedIp } from '@kmesh/orchestration';

/** A pool with more entries is cleared: this bounds memory under churn at the price of some sharing. */
const maximumEntries = 200_000;

/** Deduplicates equal values: a mesh of 100,000 workloads has a few thousand distinct ones. */
class Pool<Value> {
  readonly #values = new Map<string, Value>();

  /** Returns the value of `key`, created by `make` on first use. */
  get(key: string, make: () => Value): Value {
    const known = this.#values.get(key);
    if (known !== undefined) return known;
    if (this.#values.size >= maximumEntries) this.#values.clear();
    const value = make();
    this.#values.set(key, value);
    return value;
  }

  get size(): number {
    return this.#values.size;
  }
}

/** The pools that conversions share across resources and responses. */
export class Interner {
  readonly #texts = new Pool<string>();
  readonly localities = new Pool<Locality>();
  readonly gateways = new Pool<GatewayAddress>();
  readonly ports = new Pool<PortMap>();
  readonly services = new Pool<ReadonlyMap<string, PortMap>>();
  readonly nameLists = new Pool<readonly string[]>();

  /** Returns the shared copy of a text that many resources carry, such as a namespace. */
  text(value: string): string {
    return value === '' ? '' : this.#texts.get(value, () => value);
  }
}

/** Formats a wire address canonically; returns `undefined` unless it has 4 or 16 bytes. */
function ipText(bytes: Uint8Array): string | undefined {
  const ip = readIp(bytes, bytes.length * 8);
  return ip === undefined ? undefined : formatIp(ip);
}

/**
 * Formats `address/length` with the address masked. Returns `undefined` if the address or the length is not valid. A
 * prefix within the IPv4-mapped range becomes an IPv4 prefix.
 */
export function cidrText(bytes: Uint8Array, length: number): string | undefined {
  if (!Number.isInteger(length) || length < 0 || length > bytes.length * 8) return undefined;
  const ip = readIp(bytes, length);
  if (ip === undefined) return undefined;
  const ownLength = ip.family === 4 && bytes.length === 16 ? length - 96 : length;
  return `${formatIp(maskIp(ip, ownLength))}/${ownLength}`;
}

/** Reads a wire address. An IPv4-mapped one becomes IPv4, unless the prefix is shorter than the mapped range. */
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

/**
 * Returns the error of an unusable resource, code `KMESH_XDS_RESOURCE_REJECTED`. The message is the reason in the NACK,
 * beside the name of the resource: it states the field and the problem.
 */
export function rejected(reason: string): KmeshError {
  return new KmeshError('KMESH_XDS_RESOURCE_REJECTED', reason);
}

/**
 * Returns the member of `members` for an enum number.
 *
 * @throws KMESH_XDS_RESOURCE_REJECTED for a number without a member.
 */
export function enumMember<Member>(
  field: string,
  value: number,
  members: readonly (Member | undefined)[],
): Member {
  const member = members[value];
  if (member === undefined) throw rejected(`${field} has the unsupported value ${value}`);
  return member;
}

const noPorts: PortMap = new Map();

/** Formats an address field canonically. @throws KMESH_XDS_RESOURCE_REJECTED unless it has 4 or 16 bytes. */
export function requireIp(field: string, bytes: Uint8Array | null | undefined): string {
  const text = bytes ? ipText(bytes) : undefined;
  if (text === undefined) throw rejected(`${field} has ${bytes?.length ?? 0} bytes, not 4 or 16`);
  return text;
}

/**
 * Converts a waypoint or network gateway; returns `undefined` if the field is absent.
 *
 * @throws KMESH_XDS_RESOURCE_REJECTED if it has no destination (docs/contract.md 3.6).
 */
export function convertGateway(
  field: string,
  gateway: workloadProto.GatewayAddress | null | undefined,
  interner: Interner,
): GatewayAddress | undefined {
  if (!gateway) return undefined;
  const hboneMtlsPort = (gateway.hboneMtlsPort ?? 0) & 0xffff;
  if (gateway.hostname) {
    const namespace = gateway.hostname.namespace ?? '';
    const hostname = gateway.hostname.hostname ?? '';
    return interner.gateways.get(`h ${namespace}/${hostname} ${hboneMtlsPort}`, () => ({
      destination: { kind: 'hostname', namespace, hostname },
      hboneMtlsPort,
    }));
  }
  if (gateway.address) {
    const network = gateway.address.network ?? '';
    const ip = requireIp(`${field} address`, gateway.address.address);
    return interner.gateways.get(`a ${network}/${ip} ${hboneMtlsPort}`, () => ({
      destination: { kind: 'address', network, ip },
      hboneMtlsPort,
    }));
  }
  throw rejected(`${field} has no destination`);
}

/** Converts ports to service port → target port, both truncated to 16 bits. Equal maps are one object. */
export function convertPorts(
  ports: readonly workloadProto.Port[] | null | undefined,
  interner: Interner,
): PortMap {
  if (!ports || ports.length === 0) return noPorts;
  let key = '';
  for (const port of ports) key += `${(port.servicePort ?? 0) & 0xffff}:${(port.targetPort ?? 0) & 0xffff} `;
  return interner.ports.get(key, () => {
    const map = new Map<number, number>();
    for (const port of ports) map.set((port.servicePort ?? 0) & 0xffff, (port.targetPort ?? 0) & 0xffff);
    return map;
  });
}
