import { KmeshError } from '@kmesh/api';

/** One address of each family. */
export interface AddressPair {
  readonly v4: string;
  readonly v6: string;
}

/*
 * The plan. Each lab has its own namespaces, so every lab uses the same addresses:
 *
 *   wire       172.18.0.0/16     fd00:18::/64        nodes from .0.1, outside hosts from .100.1
 *   pods       10.<node>.0.0/16  fd00:10:<node>::/64 the node's bridge is 1, pods from 2
 *   services   10.96.0.0/16      fd00:96::/64        handed out by `lab.serviceAddress()`
 */
export const WIRE_PREFIX = { v4: 16, v6: 64 } as const;
export const POD_PREFIX = { v4: 16, v6: 64 } as const;

export function nodeAddress(node: number): AddressPair {
  if (node > 90) throw new KmeshError('KMESH_LAB_FULL', `A lab has room for 90 nodes; ${node} is too many.`);
  return { v4: `172.18.0.${node}`, v6: `fd00:18::${node.toString(16)}` };
}

export function outsideAddress(host: number): AddressPair {
  return { v4: `172.18.100.${host}`, v6: `fd00:18::100:${host.toString(16)}` };
}

/** `host` 1 is the node's bridge. */
export function podAddress(node: number, host: number): AddressPair {
  return {
    v4: `10.${node}.${host >> 8}.${host & 255}`,
    v6: `fd00:10:${node.toString(16)}::${host.toString(16)}`,
  };
}

export function podNetwork(node: number): AddressPair {
  return { v4: `10.${node}.0.0/${POD_PREFIX.v4}`, v6: `fd00:10:${node.toString(16)}::/${POD_PREFIX.v6}` };
}

export function serviceAddress(service: number): AddressPair {
  return { v4: `10.96.${service >> 8}.${service & 255}`, v6: `fd00:96::${service.toString(16)}` };
}

/** Splits `1.2.3.4:80` or `[fd00::1]:80`. Throws KMESH_LAB_ADDRESS on anything else. */
export function parseEndpoint(text: string): { ip: string; port: number } {
  const match = /^(?:\[([0-9a-f:.]+)\]|([0-9.]+)):(\d+)$/.exec(text);
  const ip = match?.[1] ?? match?.[2];
  if (match === null || ip === undefined) {
    throw new KmeshError(
      'KMESH_LAB_ADDRESS',
      `"${text}" is not an address; write 1.2.3.4:80 or [fd00::1]:80.`,
    );
  }
  return { ip, port: Number(match[3]) };
}

/** `1.2.3.4:80` or `[fd00::1]:80`. */
export function endpointText(ip: string, port: number): string {
  return ip.includes(':') ? `[${ip}]:${port}` : `${ip}:${port}`;
}
