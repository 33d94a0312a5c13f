import type { ApplicationTunnel, GatewayAddress, IpFamilies, PortMap, Service, Workload } from '@kmesh/api';
import { formatIdentityUri, identityUriOf, parseIdentity } from '../policy/identity.ts';
import { ipFamily, isLoopback } from '../state/ip.ts';
import type { MeshView } from '../state/mesh-view.ts';
import { drawWeighted, eligibleCandidates, type LocalitySource } from './balance.ts';
import type { RouteTrace, SocketTarget } from './decision.ts';
import { bestServiceByVip, findByHostname, nameOfHost } from './lookup.ts';

/** How an endpoint is reached. */
type AddressChoice =
  | { readonly kind: 'ip'; readonly ip: string }
  | { readonly kind: 'hostname'; readonly hostname: string }
  /** No address: reachable only through its network's gateway. */
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
type LookupPurpose = 'call' | 'waypoint';

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

/** Sources of an endpoint's target port. */
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

/** A chosen endpoint. */
export interface Upstream {
  readonly workload: Workload;
  readonly address: AddressChoice;
  readonly port: number;
  /** The service through which the endpoint was chosen; `undefined` when the workload itself was addressed. */
  readonly service: Service | undefined;
}

/** Context shared by all selections of one connection. */
export interface SelectionContext {
  readonly view: MeshView;
  readonly source: Workload;
  readonly random: () => number;
  readonly trace: RouteTrace | undefined;
  /** Uid of the endpoint that an earlier layer drew; it is not drawn again. */
  readonly pick?: string | undefined;
  /** Receives the names of resources that the view lacks. */
  readonly missing?: ((name: string) => void) | undefined;
}

/** Reports an address that no workload and no service has exactly; a CIDR VIP may hide what is not known. */
export function noteMissingAddress({ view, missing }: SelectionContext, network: string, ip: string): void {
  if (missing === undefined || isLoopback(ip)) return;
  const isKnown =
    view.workloadByAddress(network, ip) !== undefined || view.servicesByVip(network, ip).length > 0;
  if (!isKnown) missing(`${network}/${ip}`);
}

/** Reports a backend whose service is not known. */
export function noteMissingBackend(
  { view, missing }: SelectionContext,
  hostname: string,
  routeNamespace: string,
): void {
  if (missing === undefined || hostname === '' || view.servicesByHostname(hostname).length > 0) return;
  missing(nameOfHost(hostname, routeNamespace));
}

/** An address on a network, and why it is looked up. */
interface AddressSelection {
  readonly network: string;
  readonly target: SocketTarget;
  readonly purpose: LookupPurpose;
}

/**
 * Selects the endpoint for an address: one of the service there, else the workload there (docs/contract.md 7.1, 7.3).
 * Returns `undefined` when nothing at the address can be used.
 */
export function selectByAddress(
  context: SelectionContext,
  { network, target, purpose }: AddressSelection,
): Upstream | undefined {
  noteMissingAddress(context, network, target.ip);
  const service = bestServiceByVip(context.view, network, target.ip, context.source.namespace);
  if (service !== undefined) return selectFromService(context, service, { target, purpose });
  const workload = context.view.workloadByAddress(network, target.ip);
  return workload === undefined ? undefined : addressed(context, workload, target);
}

/**
 * Selects an endpoint of a service by load-balancing mode and weight (docs/contract.md 7.3, 7.4). The IP of `target`
 * sets the address family and wins where it is an endpoint's own.
 */
export function selectFromService(
  context: SelectionContext,
  service: Service,
  { target, purpose }: Omit<AddressSelection, 'network'>,
): Upstream | undefined {
  const { ip, port } = target;
  const candidates = candidatesOf(context.view, service, {
    port,
    preferredFamily: ipFamily(ip),
    source: context.source,
    requestedIp: ip,
    purpose,
  });
  if (candidates.length === 0 && mayHaveEndpoints(service, port, purpose)) {
    context.missing?.(`${service.namespace}/${service.hostname}`);
  }
  const eligible = eligibleCandidates(candidates, service.loadBalancer, context.source);
  const picked = eligible.find(({ workload, weight }) => workload.uid === context.pick && weight > 0);
  const chosen = picked ?? drawWeighted(eligible, context.random);
  context.trace?.push(
    `service ${service.namespace}/${service.hostname} port ${port}: ${candidates.length} candidates, ` +
      `${eligible.length} after mode ${service.loadBalancer?.mode ?? 'Standard'}, ` +
      `chose ${chosen === undefined ? 'none' : chosen.workload.uid}`,
  );
  if (chosen === undefined) return undefined;
  return { workload: chosen.workload, address: chosen.address, port: chosen.targetPort, service };
}

function mayHaveEndpoints(service: Service, port: number, purpose: LookupPurpose): boolean {
  if (service.loadBalancer?.mode === 'Passthrough') return false;
  return purpose === 'waypoint' || service.ports.has(port);
}

/** A waypoint or network gateway reference, and the call that leads there. */
interface GatewaySelection {
  readonly gateway: GatewayAddress;
  readonly callIp: string;
  readonly purpose: LookupPurpose;
}

/**
 * Selects the endpoint behind a waypoint or network gateway reference (docs/contract.md 6.9, 7.2). A reference by IP
 * keeps the family of that IP, a reference by hostname takes the family of the call.
 */
export function selectGateway(
  context: SelectionContext,
  { gateway, callIp, purpose }: GatewaySelection,
): Upstream | undefined {
  const { destination, hboneMtlsPort: port } = gateway;
  if (destination.kind === 'address') {
    const target = { ip: destination.ip, port };
    return selectByAddress(context, { network: destination.network, target, purpose });
  }
  const found = findByHostname(context.view, destination.namespace, destination.hostname);
  if (found === undefined) {
    context.missing?.(`${destination.namespace}/${destination.hostname}`);
    return undefined;
  }
  const target = { ip: callIp, port };
  return found.kind === 'service'
    ? selectFromService(context, found.service, { target, purpose })
    : addressed(context, found.workload, target);
}

/**
 * Returns the SPIFFE ids that a server may have: the workload's, and the service's alternative names that parse
 * (conformance OUT-31).
 */
export function acceptedIdentities(upstream: Pick<Upstream, 'workload' | 'service'>): string[] {
  return [...new Set([...serviceIdentities(upstream.service), identityUriOf(upstream.workload)])];
}

/** Returns the SPIFFE ids among a service's subject alternative names; skips other names. */
export function serviceIdentities(service: Service | undefined): string[] {
  const identities: string[] = [];
  for (const name of service?.subjectAltNames ?? []) {
    const identity = parseIdentity(name);
    if (identity !== undefined) identities.push(formatIdentityUri(identity));
  }
  return identities;
}

function addressed(
  context: SelectionContext,
  workload: Workload,
  { ip, port }: SocketTarget,
): Upstream | undefined {
  const address = chooseAddress(workload, {
    requestedIp: ip,
    preferredFamily: ipFamily(ip),
    ipFamilies: undefined,
    network: context.source.network,
  });
  return address === undefined ? undefined : { workload, address, port, service: undefined };
}
