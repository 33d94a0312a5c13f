import type { Service, Workload } from '@kmesh/api';

/** Why a connection cannot be routed (docs/contract.md 18); each is an early deny. */
export type FailureCategory =
  | 'SelfCall'
  | 'NoHealthyUpstream'
  | 'NoValidDestination'
  | 'UnknownWaypoint'
  | 'UnknownNetworkGateway'
  | 'NonConnectMethod'
  | 'NoValidAuthority'
  | 'NoHostname'
  | 'NoPortForServices'
  | 'NoIPForService'
  | 'IPMismatch';

/** A routing failure with a sentence that a person can act on. */
export interface RoutingFailure {
  readonly category: FailureCategory;
  readonly message: string;
}

/** An IP address (canonical text) and a TCP port. */
export interface SocketTarget {
  readonly ip: string;
  readonly port: number;
}

/** Receives one sentence per routing step, for explanations. Without a trace no sentence is built. */
export type RouteTrace = { push(sentence: string): unknown };

/** Ports that are never proxied to (docs/contract.md 2.2); with SOCKS5 also 15080. */
export const ILLEGAL_PORTS: ReadonlySet<number> = new Set([15001, 15006, 15008]);

/** Port of the mTLS tunnel into a pod (docs/contract.md 2.4). */
export const HBONE_PORT = 15008;

/** The route that a connection was split by. */
export interface RouteUse {
  /** `namespace/name` of the route. */
  readonly route: string;
  /** The service that was addressed, and its port. */
  readonly service: Service;
  readonly port: number;
  /** Host name of the service that serves instead; empty if the control plane permits none. */
  readonly backend: string;
}

interface Routed {
  /** Address of the TCP connection. */
  readonly nextHop: SocketTarget;
  /** The workload at the next hop, for telemetry. */
  readonly workload: Workload | undefined;
  /** The service that was addressed: telemetry, and `host=` of `forwarded`. */
  readonly service: Service | undefined;
  /** Set if a route chose the backend. */
  readonly route?: RouteUse;
}

/** Plain TCP: to an endpoint, or to the original destination. */
export interface TcpDecision extends Routed {
  readonly kind: 'tcp';
  readonly via: 'passthrough' | 'workload';
}

/** One mTLS HTTP/2 CONNECT (docs/contract.md 6.2). */
export interface HboneDecision extends Routed {
  readonly kind: 'hbone';
  readonly via: 'workload' | 'waypoint';
  /** `:authority` of the CONNECT. */
  readonly authority: string;
  /** SPIFFE ids; the server must have one of them. */
  readonly acceptedIdentities: readonly string[];
  readonly workload: Workload;
}

/**
 * CONNECT inside CONNECT, through the gateway of another network (docs/contract.md 6.9); `workload` is the gateway.
 */
export interface DoubleHboneDecision extends Routed {
  readonly kind: 'doubleHbone';
  /** `:authority` of both CONNECTs. */
  readonly authority: string;
  /** For the gateway, the outer connection. */
  readonly acceptedIdentities: readonly string[];
  /** For the final server, the inner connection. */
  readonly innerAcceptedIdentities: readonly string[];
  readonly workload: Workload;
}

/** The connection is closed (early deny). */
export interface RefusedDecision extends RoutingFailure {
  readonly kind: 'refused';
  readonly service: Service | undefined;
  /** Set if the share of a route's backend is refused. */
  readonly route?: RouteUse;
}

/**
 * The endpoint has only a host name: resolve it, pick an address with `chooseResolvedAddress`, and finish with
 * `withResolvedAddress` (docs/contract.md 7.5).
 */
export interface ResolveHostnameDecision {
  readonly kind: 'resolveHostname';
  readonly hostname: string;
  readonly preferredFamily: 4 | 6;
  readonly nextHopPort: number;
  /** Set when the CONNECT authority is the endpoint's own address and this port. */
  readonly authorityPort: number | undefined;
  readonly pending:
    | Omit<TcpDecision, 'nextHop'>
    | Omit<HboneDecision, 'nextHop'>
    | Omit<DoubleHboneDecision, 'nextHop'>;
  readonly workload: Workload;
  readonly service: Service | undefined;
}

/** The result of `resolveOutbound`. */
export type OutboundDecision =
  | TcpDecision
  | HboneDecision
  | DoubleHboneDecision
  | ResolveHostnameDecision
  | RefusedDecision;
