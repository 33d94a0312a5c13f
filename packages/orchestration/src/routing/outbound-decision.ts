import type { Service, Workload } from '@kmesh/api';
import type { RoutingFailure, SocketTarget } from './failure.ts';

interface Routed {
  /** Where the TCP connection goes. */
  readonly nextHop: SocketTarget;
  /** The workload at the next hop, for telemetry. */
  readonly workload: Workload | undefined;
  /** The service that was addressed: telemetry, and `host=` of `forwarded`. */
  readonly service: Service | undefined;
}

/** Plain TCP: to an endpoint, or to the original destination. */
export interface TcpDecision extends Routed {
  readonly kind: 'tcp';
  readonly via: 'passthrough' | 'workload';
}

/** One mTLS HTTP/2 CONNECT (contract 6.2). */
export interface HboneDecision extends Routed {
  readonly kind: 'hbone';
  readonly via: 'workload' | 'waypoint';
  /** `:authority` of the CONNECT. */
  readonly authority: string;
  /** SPIFFE ids of which the server must have one. */
  readonly acceptedIdentities: readonly string[];
  readonly workload: Workload;
}

/** CONNECT inside CONNECT, through the gateway of another network (contract 6.9); `workload` is the gateway. */
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
}

/**
 * The endpoint has only a host name: resolve it, pick an address with `chooseResolvedAddress`, and finish with
 * `withResolvedAddress` (contract 7.5).
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

/** The answer of `resolveOutbound`. */
export type OutboundDecision =
  | TcpDecision
  | HboneDecision
  | DoubleHboneDecision
  | ResolveHostnameDecision
  | RefusedDecision;
