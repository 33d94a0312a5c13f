import type { Service, Workload } from '@kmesh/api';
import { formatSocketAddress, ipFamily, isLoopback } from '../state/ip.ts';
import { routeKey, serviceKey } from '../state/mesh-state.ts';
import type { MeshView } from '../state/mesh-view.ts';
import {
  type DoubleHboneDecision,
  HBONE_PORT,
  type HboneDecision,
  ILLEGAL_PORTS,
  type OutboundDecision,
  type RefusedDecision,
  type ResolveHostnameDecision,
  type RouteTrace,
  type RouteUse,
  type SocketTarget,
  type TcpDecision,
} from './decision.ts';
import { bestServiceByVip, findByAddress, formatDestination } from './lookup.ts';
import { type ResolvedBackend, routeOf } from './route.ts';
import { describeBackends, drawBackend } from './route-draw.ts';
import {
  acceptedIdentities,
  noteMissingAddress,
  noteMissingBackend,
  type SelectionContext,
  selectByAddress,
  selectFromService,
  selectGateway,
  serviceIdentities,
  type Upstream,
} from './upstream.ts';
import { chooseServiceWaypoint, isCallFromWaypoint, serviceWaypoints } from './waypoint.ts';

/** One captured outbound connection. */
interface OutboundRequest {
  /** The pod's own workload. */
  readonly source: Workload;
  /** The client's IP, canonical. */
  readonly clientIp: string;
  /** Original destination, IPv4-mapped addresses unwrapped. */
  readonly destination: SocketTarget;
  /**
   * The endpoint that an earlier layer drew for this connection, if any; kept if it is still eligible. The uid of a
   * workload, or a text of `formatRoutePick`.
   */
  readonly pick?: string | undefined;
  /** Ports that loopback calls must not reach; {@link ILLEGAL_PORTS} by default. */
  readonly illegalPorts?: ReadonlySet<number>;
}

/** Options of {@link resolveOutbound}. */
interface OutboundOptions {
  /** Uniform in [0, 1); `Math.random` by default. */
  readonly random?: () => number;
  /** Receives one sentence per step. */
  readonly trace?: RouteTrace;
  /**
   * Receives the name of each resource that the decision lacks: `network/ip` or `namespace/hostname`. If the view has
   * not the whole mesh, decide again once the control plane was asked for them.
   */
  readonly missing?: (name: string) => void;
}

/**
 * Decides where an outbound connection goes: the decision tree of docs/contract.md 7.2. A destination that the mesh
 * knows but cannot serve is refused, never reached over plain TCP.
 */
export function resolveOutbound(
  view: MeshView,
  request: OutboundRequest,
  options: OutboundOptions = {},
): OutboundDecision {
  const { source, destination } = request;
  const { trace } = options;
  const context: SelectionContext = {
    view,
    source,
    random: options.random ?? Math.random,
    trace,
    pick: request.pick,
    missing: options.missing,
  };
  const text = formatSocketAddress(destination.ip, destination.port);

  if (isLoopback(destination.ip) && (request.illegalPorts ?? ILLEGAL_PORTS).has(destination.port)) {
    const message = `${text} is a port of the proxy itself, which a pod must not call.`;
    return refuse(trace, { category: 'SelfCall', message, service: undefined });
  }

  const found = findByAddress(view, source.network, destination.ip, source.namespace);
  noteMissingAddress(context, source.network, destination.ip);
  const service = found?.kind === 'service' ? found.service : undefined;
  trace?.push(`${text} is ${describe(found)}`);
  if (service !== undefined) {
    const waypoint = throughServiceWaypoint(context, request, service);
    if (waypoint !== undefined) return waypoint;
    const split = throughRoute(context, request, service);
    if (split !== undefined) return split;
  }

  const upstream = selectByAddress(context, {
    network: source.network,
    target: destination,
    purpose: 'call',
  });
  if (upstream === undefined) {
    // A workload at the same address hides the service from step 3, but not from the selection.
    const known = service ?? bestServiceByVip(view, source.network, destination.ip, source.namespace);
    return withoutUpstream(known, destination, trace);
  }

  if (upstream.workload.network !== source.network) {
    return throughNetworkGateway(context, request, { upstream, service: service ?? upstream.service });
  }
  if (service === undefined) {
    const waypoint = throughWorkloadWaypoint(context, request, upstream);
    if (waypoint !== undefined) return waypoint;
  }
  return direct(context, request, { upstream, service: service ?? upstream.service });
}

/** Steps 3 to 5: `undefined` when the service has no waypoint. */
function throughServiceWaypoint(
  context: SelectionContext,
  request: OutboundRequest,
  service: Service,
): OutboundDecision | undefined {
  const reference = chooseServiceWaypoint(service, context.random);
  if (reference === undefined) return undefined;
  const name = formatDestination(reference.destination);
  context.trace?.push(`service ${service.namespace}/${service.hostname} is reached through waypoint ${name}`);
  const waypoint = selectGateway(context, {
    gateway: reference,
    callIp: request.destination.ip,
    purpose: 'waypoint',
  });
  if (waypoint === undefined) return unknownWaypoint(context.trace, name, service);
  if (waypoint.workload.network !== context.source.network) {
    return throughNetworkGateway(context, request, { upstream: waypoint, service });
  }
  return toWaypoint(context, request, { upstream: waypoint, service });
}

/** Routes a connection by weights (docs/routes.md). Returns `undefined` if no route is applied. */
function throughRoute(
  context: SelectionContext,
  request: OutboundRequest,
  service: Service,
): OutboundDecision | undefined {
  const { port, ip } = request.destination;
  const clientNamespace = context.source.namespace;
  const decision = routeOf(context.view, { service, port, clientNamespace });
  if (decision === undefined) return undefined;
  const key = routeKey(decision.route);
  if (decision.kind === 'notApplied') {
    context.trace?.push(`route ${key} is not applied: ${decision.reason}`);
    return undefined;
  }
  context.trace?.push(`route ${key} is applied by connection: ${describeBackends(decision.backends)}`);
  for (const { hostname } of decision.backends)
    noteMissingBackend(context, hostname, decision.route.namespace);
  const { backend, workloadUid } = drawBackend(context, decision.backends, ip);
  const use = backend === undefined ? undefined : { route: key, service, port, backend: backend.hostname };
  const refused = (text: string): OutboundDecision => {
    const message = `Route ${key} of service ${serviceKey(service)} ${text}.`;
    const route = use === undefined ? {} : { route: use };
    return refuse(context.trace, { category: 'NoHealthyUpstream', message, service, ...route });
  };
  if (backend === undefined || use === undefined) return refused('has no backend with a weight');
  const { target } = backend;
  if (target === undefined) {
    return refused(
      `sends a share to backend ${backend.hostname || '(none)'}, which is refused: ${backend.problem}`,
    );
  }
  const name = serviceKey(target.service);
  context.trace?.push(`route ${key} chose backend ${name}:${target.port}`);
  const routed = toBackend({ ...context, pick: workloadUid }, request, target);
  if (routed === undefined) return refused(`sends a share to backend ${name}, which has no usable endpoint`);
  return asDialled(routed, service, use);
}

/** Decides as if the backend had been dialled. Returns `undefined` without an endpoint. */
function toBackend(
  context: SelectionContext,
  request: OutboundRequest,
  { service, port }: NonNullable<ResolvedBackend['target']>,
): OutboundDecision | undefined {
  const { ip } = request.destination;
  if (serviceWaypoints(service).length > 0) {
    const vip = vipFor(service, context.source.network, ip);
    if (vip === undefined) {
      const message = `Service ${serviceKey(service)} has no address that names it to its waypoint.`;
      return refuse(context.trace, { category: 'NoValidDestination', message, service });
    }
    return throughServiceWaypoint(context, { ...request, destination: { ip: vip, port } }, service);
  }
  const upstream = selectFromService(context, service, { target: { ip, port }, purpose: 'call' });
  if (upstream === undefined) return undefined;
  const here = { ...request, destination: { ip, port } };
  const selection = { upstream, service };
  return upstream.workload.network === context.source.network
    ? direct(context, here, selection)
    : throughNetworkGateway(context, here, selection);
}

/** Returns an address of a service on a network, preferably of the family of `ip`. */
function vipFor(service: Service, network: string, ip: string): string | undefined {
  const vips = service.vips.filter((vip) => vip.network === network);
  return (vips.find((vip) => ipFamily(vip.ip) === ipFamily(ip)) ?? vips[0])?.ip;
}

/** Returns the decision with the addressed service instead of the backend's. */
function asDialled(decision: OutboundDecision, service: Service, route: RouteUse): OutboundDecision {
  switch (decision.kind) {
    case 'refused':
      return { ...decision, service, route };
    case 'resolveHostname':
      return { ...decision, service, pending: { ...decision.pending, service, route } };
    default:
      return { ...decision, service, route };
  }
}

/** Step 8: `undefined` when the workload has no waypoint or the caller is that waypoint. */
function throughWorkloadWaypoint(
  context: SelectionContext,
  request: OutboundRequest,
  upstream: Upstream,
): OutboundDecision | undefined {
  const reference = upstream.workload.waypoint;
  if (reference === undefined) return undefined;
  const name = formatDestination(reference.destination);
  if (
    isCallFromWaypoint(context.view, {
      destination: upstream.workload,
      source: context.source,
      clientIp: request.clientIp,
    })
  ) {
    context.trace?.push(`the caller is waypoint ${name} itself: direct`);
    return undefined;
  }
  context.trace?.push(`workload ${upstream.workload.uid} is reached through waypoint ${name}`);
  const waypoint = selectGateway(context, {
    gateway: reference,
    callIp: request.destination.ip,
    purpose: 'waypoint',
  });
  if (waypoint === undefined) return unknownWaypoint(context.trace, name, undefined);
  if (waypoint.workload.network !== context.source.network) {
    const message = `Waypoint ${name} is on another network, which only calls to a service can reach.`;
    return refuse(context.trace, { category: 'NoValidDestination', message, service: undefined });
  }
  return toWaypoint(context, request, { upstream: waypoint, service: undefined });
}

/** A selected endpoint, and the service that was addressed. */
interface Selection {
  readonly upstream: Upstream;
  readonly service: Service | undefined;
}

function toWaypoint(
  { trace }: SelectionContext,
  { destination }: OutboundRequest,
  { upstream: waypoint, service }: Selection,
): OutboundDecision {
  const decision = {
    kind: 'hbone',
    via: 'waypoint',
    authority: formatSocketAddress(destination.ip, destination.port),
    acceptedIdentities: acceptedIdentities(waypoint),
    workload: waypoint.workload,
    service,
  } as const;
  return withAddress(decision, {
    upstream: waypoint,
    nextHopPort: waypoint.port,
    callIp: destination.ip,
    authorityIsEndpoint: false,
    trace,
  });
}

/** Step 7 and docs/contract.md 6.9. `upstream` is the endpoint or waypoint on the other network. */
function throughNetworkGateway(
  context: SelectionContext,
  request: OutboundRequest,
  { upstream, service }: Selection,
): OutboundDecision {
  const { workload } = upstream;
  const where = `${workload.uid} is on network "${workload.network}"`;
  if (service === undefined) {
    const message = `${where}, which only calls to a service can reach.`;
    return refuse(context.trace, { category: 'NoValidDestination', message, service: undefined });
  }
  const reference = workload.networkGateway;
  if (reference === undefined) {
    const message = `${where}, which has no network gateway.`;
    return refuse(context.trace, { category: 'UnknownNetworkGateway', message, service });
  }
  const gateway = selectGateway(context, {
    gateway: reference,
    callIp: request.destination.ip,
    purpose: 'call',
  });
  if (gateway === undefined) {
    const message = `${where}, but its network gateway ${formatDestination(reference.destination)} is not known or has no endpoint.`;
    return refuse(context.trace, { category: 'UnknownNetworkGateway', message, service });
  }
  context.trace?.push(`${where}: through gateway ${gateway.workload.uid}`);
  const decision = {
    kind: 'doubleHbone',
    authority: `${service.hostname}:${request.destination.port}`,
    acceptedIdentities: acceptedIdentities(gateway),
    innerAcceptedIdentities: serviceIdentities(upstream.service),
    workload: gateway.workload,
    service,
  } as const;
  return withAddress(decision, {
    upstream: gateway,
    nextHopPort: gateway.port,
    callIp: request.destination.ip,
    authorityIsEndpoint: false,
    trace: context.trace,
  });
}

/** Steps 9 and 10. */
function direct(
  { trace }: SelectionContext,
  { destination }: OutboundRequest,
  { upstream, service }: Selection,
): OutboundDecision {
  const { workload, port } = upstream;
  const hop = { upstream, callIp: destination.ip, trace };
  if (workload.protocol === 'TCP') {
    const decision = { kind: 'tcp', via: 'workload', workload, service } as const;
    return withAddress(decision, { ...hop, nextHopPort: port, authorityIsEndpoint: false });
  }
  const decision = {
    kind: 'hbone',
    via: 'workload',
    authority: '',
    acceptedIdentities: acceptedIdentities(upstream),
    workload,
    service,
  } as const;
  return withAddress(decision, { ...hop, nextHopPort: HBONE_PORT, authorityIsEndpoint: true });
}

/** Step 6. */
function withoutUpstream(
  service: Service | undefined,
  destination: SocketTarget,
  trace: RouteTrace | undefined,
): OutboundDecision {
  if (service !== undefined && service.loadBalancer?.mode !== 'Passthrough') {
    const what = service.ports.has(destination.port)
      ? 'has no usable endpoint'
      : `has no port ${destination.port}`;
    const message = `Service ${service.namespace}/${service.hostname} ${what}.`;
    return refuse(trace, { category: 'NoHealthyUpstream', message, service });
  }
  trace?.push('plain TCP to the original destination');
  return { kind: 'tcp', via: 'passthrough', nextHop: destination, workload: undefined, service: undefined };
}

function unknownWaypoint(
  trace: RouteTrace | undefined,
  name: string,
  service: Service | undefined,
): RefusedDecision {
  const message = `Waypoint ${name} is not known or has no endpoint; traffic never bypasses it.`;
  return refuse(trace, { category: 'UnknownWaypoint', message, service });
}

function describe(found: ReturnType<typeof findByAddress>): string {
  if (found === undefined) return 'not known to the mesh';
  return found.kind === 'service'
    ? `service ${found.service.namespace}/${found.service.hostname}`
    : `workload ${found.workload.uid}`;
}

type Unaddressed =
  | Omit<TcpDecision, 'nextHop'>
  | Omit<HboneDecision, 'nextHop'>
  | Omit<DoubleHboneDecision, 'nextHop'>;

/** The chosen endpoint of a decision that has no next hop yet. */
interface ChosenHop {
  readonly upstream: Upstream;
  readonly nextHopPort: number;
  readonly callIp: string;
  /** Whether the CONNECT authority is the endpoint's own address and target port. */
  readonly authorityIsEndpoint: boolean;
  readonly trace: RouteTrace | undefined;
}

/** Completes a decision with the address of the chosen endpoint, requests a DNS resolution first, or refuses. */
function withAddress(
  decision: Unaddressed,
  { upstream, nextHopPort, callIp, authorityIsEndpoint, trace }: ChosenHop,
): OutboundDecision {
  const { address } = upstream;
  if (address.kind === 'gateway') {
    const message = `${upstream.workload.uid} has no address to connect to.`;
    return refuse(trace, { category: 'NoValidDestination', message, service: decision.service });
  }
  const authorityPort = authorityIsEndpoint ? upstream.port : undefined;
  if (address.kind === 'hostname') {
    trace?.push(`host name ${address.hostname} must be resolved first`);
    return {
      kind: 'resolveHostname',
      hostname: address.hostname,
      preferredFamily: ipFamily(callIp),
      nextHopPort,
      authorityPort,
      pending: decision,
      workload: upstream.workload,
      service: decision.service,
    };
  }
  trace?.push(`${decision.kind} to ${formatSocketAddress(address.ip, nextHopPort)}`);
  return complete(decision, { ip: address.ip, port: nextHopPort }, authorityPort);
}

/**
 * Returns the final decision for a {@link ResolveHostnameDecision} whose host name resolved to `ip` (docs/contract.md
 * 7.5).
 */
export function withResolvedAddress(
  decision: ResolveHostnameDecision,
  ip: string,
): TcpDecision | HboneDecision | DoubleHboneDecision {
  return complete(decision.pending, { ip, port: decision.nextHopPort }, decision.authorityPort);
}

function complete(
  decision: Unaddressed,
  nextHop: SocketTarget,
  authorityPort: number | undefined,
): TcpDecision | HboneDecision | DoubleHboneDecision {
  if (decision.kind === 'hbone' && authorityPort !== undefined) {
    return { ...decision, nextHop, authority: formatSocketAddress(nextHop.ip, authorityPort) };
  }
  return { ...decision, nextHop };
}

/** Returns a refusal and records it in the trace. */
function refuse(trace: RouteTrace | undefined, refusal: Omit<RefusedDecision, 'kind'>): RefusedDecision {
  trace?.push(`refused (${refusal.category}): ${refusal.message}`);
  return { kind: 'refused', ...refusal };
}
