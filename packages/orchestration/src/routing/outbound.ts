import type { Service, Workload } from '@kmesh/api';
import { formatSocketAddress, isLoopback } from '../state/ip.ts';
import type { MeshView } from '../state/mesh-view.ts';
import { HBONE_PORT, ILLEGAL_PORTS, type RouteTrace, type SocketTarget } from './failure.ts';
import { bestServiceByVip, findByAddress, formatDestination } from './lookup.ts';
import { refuse, withAddress } from './outbound-address.ts';
import type { OutboundDecision, RefusedDecision } from './outbound-decision.ts';
import {
  acceptedIdentities,
  type SelectionContext,
  selectByAddress,
  selectGateway,
  serviceIdentities,
  type Upstream,
} from './upstream.ts';
import { chooseServiceWaypoint, isCallFromWaypoint } from './waypoint.ts';

/** One captured outbound connection. */
interface OutboundRequest {
  /** The pod's own workload. */
  readonly source: Workload;
  /** The client's IP, canonical. */
  readonly clientIp: string;
  /** Original destination, IPv4-mapped addresses unwrapped. */
  readonly destination: SocketTarget;
  /** Uid of the endpoint that was chosen for this connection before, if any: chosen again as long as it may be. */
  readonly pick?: string | undefined;
  /** Ports that loopback calls must not reach; {@link ILLEGAL_PORTS} by default. */
  readonly illegalPorts?: ReadonlySet<number>;
}

/** How {@link resolveOutbound} decides. */
interface OutboundOptions {
  /** Uniform in [0, 1); `Math.random` by default. */
  readonly random?: () => number;
  /** Receives a sentence per step. */
  readonly trace?: RouteTrace;
}

/**
 * Where an outbound connection goes: the whole decision tree of contract 7.2. Never falls back to plain TCP where
 * the mesh knows the destination but cannot serve it.
 */
export function resolveOutbound(
  view: MeshView,
  request: OutboundRequest,
  options: OutboundOptions = {},
): OutboundDecision {
  const { source, destination } = request;
  const { trace } = options;
  const context: SelectionContext = {
    source,
    random: options.random ?? Math.random,
    trace,
    pick: request.pick,
  };
  const text = formatSocketAddress(destination.ip, destination.port);

  if (isLoopback(destination.ip) && (request.illegalPorts ?? ILLEGAL_PORTS).has(destination.port)) {
    return refuse(
      'SelfCall',
      `${text} is a port of the proxy itself; a pod may not call it.`,
      undefined,
      trace,
    );
  }

  const found = findByAddress(view, source.network, destination.ip, source.namespace);
  const service = found?.kind === 'service' ? found.service : undefined;
  trace?.push(`${text} is ${describe(found)}`);
  if (service !== undefined) {
    const waypoint = throughServiceWaypoint(view, context, request, service);
    if (waypoint !== undefined) return waypoint;
  }

  const upstream = selectByAddress(view, context, source.network, destination, 'call');
  if (upstream === undefined) {
    // A workload may hide a service at the same address from step 3, but not from the selection.
    const known = service ?? bestServiceByVip(view, source.network, destination.ip, source.namespace);
    return withoutUpstream(known, destination, trace);
  }

  if (upstream.workload.network !== source.network) {
    return throughNetworkGateway(view, context, request, service ?? upstream.service, upstream);
  }
  if (service === undefined) {
    const waypoint = throughWorkloadWaypoint(view, context, request, upstream);
    if (waypoint !== undefined) return waypoint;
  }
  return direct(upstream, service ?? upstream.service, destination, trace);
}

/** Steps 3 to 5: `undefined` when the service has no waypoint. */
function throughServiceWaypoint(
  view: MeshView,
  context: SelectionContext,
  request: OutboundRequest,
  service: Service,
): OutboundDecision | undefined {
  const reference = chooseServiceWaypoint(service, context.random);
  if (reference === undefined) return undefined;
  const name = formatDestination(reference.destination);
  context.trace?.push(`service ${service.namespace}/${service.hostname} is reached through waypoint ${name}`);
  const waypoint = selectGateway(view, context, reference, request.destination.ip, 'waypoint');
  if (waypoint === undefined) return unknownWaypoint(name, service, context.trace);
  if (waypoint.workload.network !== context.source.network) {
    return throughNetworkGateway(view, context, request, service, waypoint);
  }
  return toWaypoint(waypoint, service, request.destination, context.trace);
}

/** Step 8: `undefined` when the workload has no waypoint or the caller is that waypoint. */
function throughWorkloadWaypoint(
  view: MeshView,
  context: SelectionContext,
  request: OutboundRequest,
  upstream: Upstream,
): OutboundDecision | undefined {
  const reference = upstream.workload.waypoint;
  if (reference === undefined) return undefined;
  const name = formatDestination(reference.destination);
  if (isCallFromWaypoint(view, upstream.workload, context.source, request.clientIp)) {
    context.trace?.push(`the caller is waypoint ${name} itself: direct`);
    return undefined;
  }
  context.trace?.push(`workload ${upstream.workload.uid} is reached through waypoint ${name}`);
  const waypoint = selectGateway(view, context, reference, request.destination.ip, 'waypoint');
  if (waypoint === undefined) return unknownWaypoint(name, undefined, context.trace);
  if (waypoint.workload.network !== context.source.network) {
    const message = `Waypoint ${name} is on another network, which only calls to a service can reach.`;
    return refuse('NoValidDestination', message, undefined, context.trace);
  }
  return toWaypoint(waypoint, undefined, request.destination, context.trace);
}

function toWaypoint(
  waypoint: Upstream,
  service: Service | undefined,
  destination: SocketTarget,
  trace: RouteTrace | undefined,
): OutboundDecision {
  const decision = {
    kind: 'hbone',
    via: 'waypoint',
    authority: formatSocketAddress(destination.ip, destination.port),
    acceptedIdentities: acceptedIdentities(waypoint),
    workload: waypoint.workload,
    service,
  } as const;
  return withAddress(decision, waypoint, waypoint.port, destination.ip, false, trace);
}

/** Step 7 and contract 6.9. `upstream` is the endpoint or waypoint on the other network. */
function throughNetworkGateway(
  view: MeshView,
  context: SelectionContext,
  request: OutboundRequest,
  service: Service | undefined,
  upstream: Upstream,
): OutboundDecision {
  const { workload } = upstream;
  const where = `${workload.uid} is on network "${workload.network}"`;
  if (service === undefined) {
    const message = `${where}, which only calls to a service can reach.`;
    return refuse('NoValidDestination', message, undefined, context.trace);
  }
  const reference = workload.networkGateway;
  if (reference === undefined) {
    return refuse('UnknownNetworkGateway', `${where}, which has no network gateway.`, service, context.trace);
  }
  const gateway = selectGateway(view, context, reference, request.destination.ip, 'call');
  if (gateway === undefined) {
    const message = `${where}, but its network gateway ${formatDestination(reference.destination)} is not known or has no endpoint.`;
    return refuse('UnknownNetworkGateway', message, service, context.trace);
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
  return withAddress(decision, gateway, gateway.port, request.destination.ip, false, context.trace);
}

/** Steps 9 and 10. */
function direct(
  upstream: Upstream,
  service: Service | undefined,
  destination: SocketTarget,
  trace: RouteTrace | undefined,
): OutboundDecision {
  const { workload, port } = upstream;
  if (workload.protocol === 'TCP') {
    const decision = { kind: 'tcp', via: 'workload', workload, service } as const;
    return withAddress(decision, upstream, port, destination.ip, false, trace);
  }
  const decision = {
    kind: 'hbone',
    via: 'workload',
    authority: '',
    acceptedIdentities: acceptedIdentities(upstream),
    workload,
    service,
  } as const;
  return withAddress(decision, upstream, HBONE_PORT, destination.ip, true, trace);
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
    return refuse('NoHealthyUpstream', message, service, trace);
  }
  trace?.push('plain TCP to the original destination');
  return { kind: 'tcp', via: 'passthrough', nextHop: destination, workload: undefined, service: undefined };
}

function unknownWaypoint(
  name: string,
  service: Service | undefined,
  trace: RouteTrace | undefined,
): RefusedDecision {
  const message = `Waypoint ${name} is not known or has no endpoint; traffic never bypasses it.`;
  return refuse('UnknownWaypoint', message, service, trace);
}

function describe(found: ReturnType<typeof findByAddress>): string {
  if (found === undefined) return 'not known to the mesh';
  return found.kind === 'service'
    ? `service ${found.service.namespace}/${found.service.hostname}`
    : `workload ${found.workload.uid}`;
}
