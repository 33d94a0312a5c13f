import type { IpFamilies, Workload } from '@kmesh/api';
import { ipFamily } from '../state/ip.ts';

/** How an endpoint is reached. */
export type AddressChoice =
  | { readonly kind: 'ip'; readonly ip: string }
  | { readonly kind: 'hostname'; readonly hostname: string }
  /** No address of its own: only through its network's gateway. */
  | { readonly kind: 'gateway' };

/** What the caller asked for. */
interface AddressRequest {
  /** The IP that was dialled; kept when it is one of the workload's own. */
  readonly requestedIp: string | undefined;
  readonly preferredFamily: 4 | 6;
  readonly ipFamilies: IpFamilies | undefined;
  /** Network of the client: an endpoint elsewhere may do without an address. */
  readonly network: string;
}

/** The address of a workload for one call, by contract 7.5; `undefined` when there is none to use. */
export function chooseAddress(workload: Workload, request: AddressRequest): AddressChoice | undefined {
  const { requestedIp, preferredFamily } = request;
  if (requestedIp !== undefined && workload.addresses.includes(requestedIp)) {
    return { kind: 'ip', ip: requestedIp };
  }
  let first: string | undefined;
  for (const ip of workload.addresses) {
    if (!familyAllowed(request.ipFamilies, ipFamily(ip))) continue;
    if (ipFamily(ip) === preferredFamily) return { kind: 'ip', ip };
    first ??= ip;
  }
  if (first !== undefined) return { kind: 'ip', ip: first };
  if (workload.hostname !== '') return { kind: 'hostname', hostname: workload.hostname };
  const viaGateway = workload.networkGateway !== undefined && workload.network !== request.network;
  return viaGateway ? { kind: 'gateway' } : undefined;
}

/**
 * One of the addresses that a host name resolved to: the preferred family first, at random inside a family
 * (contract 7.5). `undefined` when there is none.
 */
export function chooseResolvedAddress(
  addresses: readonly string[],
  preferredFamily: 4 | 6,
  random: () => number = Math.random,
): string | undefined {
  const preferred = addresses.filter((ip) => ipFamily(ip) === preferredFamily);
  const usable = preferred.length > 0 ? preferred : addresses;
  return usable[Math.floor(random() * usable.length)];
}

function familyAllowed(families: IpFamilies | undefined, family: 4 | 6): boolean {
  if (families === undefined || families === 'Dual') return true;
  return families === (family === 4 ? 'IPv4' : 'IPv6');
}
