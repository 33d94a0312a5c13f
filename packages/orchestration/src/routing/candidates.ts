import type { ApplicationTunnel, IpFamilies, PortMap, Service, Workload } from '@kmesh/api';
import { ipFamily } from '../state/ip.ts';
import type { MeshView } from '../state/mesh-view.ts';
import type { LocalitySource } from './balance.ts';

/** How an endpoint is reached. */
export type AddressChoice =
  | { readonly kind: 'ip'; readonly ip: string }
  | { readonly kind: 'hostname'; readonly hostname: string }
  /** It has no address: only its network's gateway reaches it. */
  | { readonly kind: 'gateway' };

/** The call that an address is chosen for. */
interface AddressRequest {
  /** The dialled IP; kept if it is one of the workload's addresses. */
  readonly requestedIp: string | undefined;
  readonly preferredFamily: 4 | 6;
  readonly ipFamilies: IpFamilies | undefined;
  /** Network of the client; an endpoint on another network needs no address. */
  readonly network: string;
}

/** Chooses the address of a workload for one call (docs/contract.md 7.5); `undefined` when no address can be used. */
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
 * Chooses one of the addresses that a host name resolved to: the preferred family first, at random within a family
 * (docs/contract.md 7.5). Returns `undefined` for an empty list.
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

/** Purpose of an endpoint lookup: an ordinary call, or the hop to a waypoint (docs/contract.md 7.3). */
export type LookupPurpose = 'call' | 'waypoint';

/** One endpoint of a service that a call could use. */
export interface Candidate {
  readonly workload: Workload;
  readonly address: AddressChoice;
  readonly targetPort: number;
  /** Relative weight; 0 is never chosen. */
  readonly weight: number;
}

/** One lookup with {@link candidatesOf}. */
interface CandidateRequest {
  /** Service port. */
  readonly port: number;
  /** Family that the client dialled. */
  readonly preferredFamily: 4 | 6;
  readonly source: Pick<LocalitySource, 'network'>;
  /** The dialled IP; relevant only where it may be an endpoint's own address. */
  readonly requestedIp?: string | undefined;
  /** `call` by default. */
  readonly purpose?: LookupPurpose;
}

/**
 * Returns every endpoint that could take the call, regardless of load-balancing mode and weight: its workload is
 * known, it has a usable address, and the port maps to a target (docs/contract.md 7.3). Empty for PASSTHROUGH
 * services and for ports that the service does not declare. The order is that of the service's endpoints.
 */
export function candidatesOf(
  view: Pick<MeshView, 'workload' | 'endpoints'>,
  service: Service,
  request: CandidateRequest,
): Candidate[] {
  const candidates: Candidate[] = [];
  const purpose = request.purpose ?? 'call';
  if (service.loadBalancer?.mode === 'Passthrough') return candidates;
  if (purpose === 'call' && !service.ports.has(request.port)) return candidates;
  const addressRequest = {
    requestedIp: request.requestedIp,
    preferredFamily: request.preferredFamily,
    ipFamilies: service.ipFamilies,
    network: request.source.network,
  };
  for (const endpoint of view.endpoints(`${service.namespace}/${service.hostname}`).values()) {
    const workload = view.workload(endpoint.workloadUid);
    if (workload === undefined) continue;
    const targetPort = targetPortOf(request.port, {
      servicePorts: service.ports,
      endpointPorts: endpoint.ports,
      applicationTunnel: workload.applicationTunnel,
      purpose,
    });
    if (targetPort === undefined) continue;
    const address = chooseAddress(workload, addressRequest);
    if (address === undefined) continue;
    candidates.push({ workload, address, targetPort, weight: workload.capacity });
  }
  return candidates;
}

/** Where the target port of an endpoint comes from. */
interface PortMappings {
  readonly servicePorts: PortMap;
  readonly endpointPorts: PortMap;
  readonly applicationTunnel: ApplicationTunnel | undefined;
  readonly purpose: LookupPurpose;
}

/**
 * Returns the target port of one endpoint for a service port: the endpoint's mapping, else the service's, else, on
 * the hop to a waypoint whose application tunnel has a port, the requested port (docs/contract.md 7.3). Returns
 * `undefined` when the port maps to no target.
 */
export function targetPortOf(
  port: number,
  { servicePorts, endpointPorts, applicationTunnel, purpose }: PortMappings,
): number | undefined {
  const servicePort = servicePorts.get(port);
  const reachable = servicePort !== undefined || (purpose === 'waypoint' && applicationTunnel !== undefined);
  if (!reachable) return undefined;
  const mapped = endpointPorts.get(port);
  if (mapped !== undefined) return mapped;
  if (servicePort !== undefined && servicePort > 0) return servicePort;
  return purpose === 'waypoint' && applicationTunnel?.port !== undefined ? port : undefined;
}
