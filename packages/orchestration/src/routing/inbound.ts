import type { Service, Workload } from '@kmesh/api';
import { formatSocketAddress, ipFamily } from '../state/ip.ts';
import { serviceKey } from '../state/mesh-state.ts';
import type { MeshView, NodeContext } from '../state/mesh-view.ts';
import { type FailureCategory, ILLEGAL_PORTS, type RoutingFailure, type SocketTarget } from './decision.ts';
import { type Authority, type HeaderValue, headerLines, parseAuthority } from './headers.ts';
import {
  bestServiceByHostname,
  findByAddress,
  findDestination,
  formatDestination,
  nameOfHost,
} from './lookup.ts';
import { allServiceWaypoints, leadsToWorkload } from './waypoint.ts';

/** Status codes in answer to a CONNECT (docs/contract.md 6.6). A policy denial is 401. */
export const INBOUND_STATUS = { accepted: 200, badRequest: 400, denied: 401, unavailable: 503 } as const;

/** One HBONE request into a pod. */
interface InboundRequest {
  readonly method: string | undefined;
  readonly authority: string | undefined;
  /** Local address of the HBONE connection: the pod's IP. */
  readonly destination: SocketTarget;
  /** The pod's own workload. */
  readonly workload: Workload;
  /** Whether PROXY application tunnels are delivered to loopback (docs/contract.md 6.8); true by default. */
  readonly localhostApplicationTunnel?: boolean;
  readonly illegalPorts?: ReadonlySet<number>;
  /** Receives the name of each resource that the decision lacks; see `OutboundOptions`. */
  readonly missing?: (name: string) => void;
}

/** A request that proceeds to authorization. */
export interface InboundAccepted {
  readonly kind: 'accepted';
  /** Pod IP and target port: the destination for policies and telemetry. */
  readonly target: SocketTarget;
  /** Address to connect to; differs from `target` only for a PROXY tunnel on loopback. */
  readonly connect: SocketTarget;
  /** Whether the application sees the client's IP (docs/contract.md 6.7); false on loopback. */
  readonly preserveSource: boolean;
  /** Destination of the PROXY v2 header; `undefined` without one. */
  readonly proxyHeaderDestination: SocketTarget | undefined;
  /** Services that the call may address, and the port to match; see {@link inboundService}. */
  readonly candidates: readonly Service[];
  readonly matchPort: number;
}

/** A request that gets an error status; only an early-deny line is logged. */
interface InboundRefused extends RoutingFailure {
  readonly kind: 'refused';
  readonly status: typeof INBOUND_STATUS.badRequest | typeof INBOUND_STATUS.unavailable;
}

/** Validates an HBONE request and finds its target: docs/contract.md 6.6 and 6.8 up to authorization. */
export function resolveInbound(
  view: MeshView,
  node: Pick<NodeContext, 'network'>,
  request: InboundRequest,
): InboundAccepted | InboundRefused {
  if (request.method !== 'CONNECT') {
    return badRequest('NonConnectMethod', `Method ${request.method} is not CONNECT.`);
  }
  const authority = parseAuthority(request.authority);
  if (authority === undefined) {
    return badRequest(
      'NoValidAuthority',
      `Authority "${request.authority}" is neither ip:port nor host:port.`,
    );
  }
  if (!destinationAllowed(view, node, request, authority)) {
    const local = formatSocketAddress(request.destination.ip, request.destination.port);
    return badRequest('IPMismatch', `Authority ${request.authority} is not served by ${local}.`);
  }

  const upstream = findUpstream(view, request, authority);
  if ('category' in upstream) return { kind: 'refused', status: INBOUND_STATUS.unavailable, ...upstream };
  const tunnel = request.workload.applicationTunnel;
  const target = { ip: request.destination.ip, port: tunnel?.port ?? upstream.port };
  if ((request.illegalPorts ?? ILLEGAL_PORTS).has(target.port)) {
    return unavailable('SelfCall', `Port ${target.port} is the proxy's own.`);
  }

  const accepted = {
    kind: 'accepted',
    target,
    candidates: upstream.services,
    matchPort: upstream.port,
  } as const;
  if (tunnel?.protocol !== 'PROXY') {
    return { ...accepted, connect: target, preserveSource: true, proxyHeaderDestination: undefined };
  }
  const proxyHeaderDestination = headerDestination(node, authority, upstream.services[0]);
  if (proxyHeaderDestination === undefined) {
    return unavailable('NoIPForService', `Service ${request.authority} has no VIP for the PROXY header.`);
  }
  const onLoopback = request.localhostApplicationTunnel ?? true;
  const loopback = ipFamily(target.ip) === 4 ? '127.0.0.1' : '::1';
  return {
    ...accepted,
    connect: onLoopback ? { ip: loopback, port: target.port } : target,
    preserveSource: !onLoopback,
    proxyHeaderDestination,
  };
}

/**
 * Refuses plaintext to the proxy's own ports (docs/contract.md 7.6). Returns `undefined` when the connection proceeds
 * to authorization, without an identity.
 */
export function refusePlaintext(
  destination: SocketTarget,
  illegalPorts: ReadonlySet<number> = ILLEGAL_PORTS,
): RoutingFailure | undefined {
  if (!illegalPorts.has(destination.port)) return undefined;
  return { category: 'SelfCall', message: `Port ${destination.port} is the proxy's own.` };
}

function destinationAllowed(
  view: MeshView,
  node: Pick<NodeContext, 'network'>,
  request: InboundRequest,
  authority: Authority,
): boolean {
  if (authority.kind === 'hostname' || authority.ip === request.destination.ip) return true;
  const { workload } = request;
  if (workload.applicationTunnel !== undefined) return true;
  const found = findByAddress(view, node.network, authority.ip, undefined);
  if (found === undefined) {
    request.missing?.(`${node.network}/${authority.ip}`);
    return false;
  }
  const waypoints =
    found.kind === 'service'
      ? allServiceWaypoints(found.service)
      : found.workload.waypoint === undefined
        ? []
        : [found.workload.waypoint];
  for (const { destination } of waypoints) {
    if (findDestination(view, destination) === undefined) request.missing?.(formatDestination(destination));
  }
  return waypoints.some((waypoint) =>
    leadsToWorkload(view, waypoint, { workload, ip: request.destination.ip }),
  );
}

/** Finds the target port and the services that the call may address; the target IP is always the pod's own. */
function findUpstream(
  view: MeshView,
  { workload, missing }: InboundRequest,
  authority: Authority,
): { readonly port: number; readonly services: readonly Service[] } | RoutingFailure {
  if (authority.kind === 'address') {
    return { port: authority.port, services: servicesOfWorkload(view, workload) };
  }
  const { hostname, port } = authority;
  const service = bestServiceByHostname(view, hostname, workload.namespace);
  if (service === undefined) {
    missing?.(nameOfHost(hostname, workload.namespace));
    return { category: 'NoHostname', message: `No service ${hostname} is visible to ${workload.namespace}.` };
  }
  const endpoint = view.endpoints(`${service.namespace}/${service.hostname}`).get(workload.uid);
  const target = endpoint?.ports.get(port) ?? service.ports.get(port) ?? 0;
  if (target === 0) {
    const message = `Service ${hostname} has no target for port ${port} on ${workload.uid}.`;
    return { category: 'NoPortForServices', message };
  }
  return { port: target, services: [service] };
}

/** Returns the destination of the PROXY header: own network first, IPv4 first (docs/contract.md 6.8). */
function headerDestination(
  node: Pick<NodeContext, 'network'>,
  authority: Authority,
  service: Service | undefined,
): SocketTarget | undefined {
  if (authority.kind === 'address') return { ip: authority.ip, port: authority.port };
  const vips = service?.vips ?? [];
  const own = vips.filter(({ network }) => network === node.network);
  const usable = own.length > 0 ? own : vips;
  const vip = usable.find(({ ip }) => ipFamily(ip) === 4) ?? usable[0];
  return vip === undefined ? undefined : { ip: vip.ip, port: authority.port };
}

function badRequest(category: FailureCategory, message: string): InboundRefused {
  return { kind: 'refused', status: INBOUND_STATUS.badRequest, category, message };
}

function unavailable(category: FailureCategory, message: string): InboundRefused {
  return { kind: 'refused', status: INBOUND_STATUS.unavailable, category, message };
}

/** Returns the known services that a workload belongs to. */
export function servicesOfWorkload(view: Pick<MeshView, 'service'>, workload: Workload): Service[] {
  const services: Service[] = [];
  for (const key of workload.services.keys()) {
    const service = view.service(key);
    if (service !== undefined) services.push(service);
  }
  return services;
}

/**
 * Returns the service that inbound telemetry names (docs/contract.md 7.7): the candidate with the host name that the
 * client forwarded, else the first with a target port or an endpoint mapping equal to the destination port.
 */
export function inboundService(
  workload: Workload,
  candidates: readonly Service[],
  port: number,
  forwardedHostname: string | undefined,
): Service | undefined {
  if (forwardedHostname !== undefined) {
    const named = candidates.find(({ hostname }) => hostname === forwardedHostname);
    if (named !== undefined) return named;
  }
  return candidates.find((service) => {
    const mapped = workload.services.get(serviceKey(service));
    return hasValue(service.ports, port) || (mapped !== undefined && hasValue(mapped, port));
  });
}

/**
 * Returns the client's workload for inbound telemetry (docs/contract.md 6.6): the workload at the peer's IP on the
 * own network, unless the client declares another network. Never used for authorization.
 */
export function inboundSourceWorkload(
  view: Pick<MeshView, 'workloadByAddress'>,
  node: Pick<NodeContext, 'network'>,
  peerIp: string,
  forwardedNetwork: HeaderValue,
): Workload | undefined {
  const [network] = headerLines(forwardedNetwork);
  if (network !== undefined && network.toLowerCase() !== node.network.toLowerCase()) return undefined;
  return view.workloadByAddress(node.network, peerIp);
}

function hasValue(ports: ReadonlyMap<number, number>, port: number): boolean {
  for (const target of ports.values()) if (target === port) return true;
  return false;
}
