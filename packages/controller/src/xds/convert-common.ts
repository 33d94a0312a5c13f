import type { GatewayAddress, PortMap, workloadProto } from '@kmesh/api';
import type { Interner } from './intern.ts';
import { ipText } from './ip-text.ts';
import { rejected } from './reject.ts';

const noPorts: PortMap = new Map();

/** Canonical text of an address field. @throws KMESH_XDS_RESOURCE_REJECTED unless it has 4 or 16 bytes. */
export function requireIp(field: string, bytes: Uint8Array | null | undefined): string {
  const text = bytes ? ipText(bytes) : undefined;
  if (text === undefined) throw rejected(`${field} has ${bytes?.length ?? 0} bytes, not 4 or 16`);
  return text;
}

/**
 * A waypoint or network gateway; `undefined` when the field is absent.
 *
 * @throws KMESH_XDS_RESOURCE_REJECTED when it has no destination (ambient contract 3.6).
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

/** Service port → target port, both cut to 16 bits; equal maps are one object. */
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
