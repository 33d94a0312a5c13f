/** Why a connection cannot be routed (contract 18); each is an early deny. */
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

/** Receives one sentence per routing step, for an explanation; without it no sentence is made. */
export type RouteTrace = { push(sentence: string): unknown };

/** Ports that are never proxied to (contract 2.2); 15080 joins them when SOCKS5 is on. */
export const ILLEGAL_PORTS: ReadonlySet<number> = new Set([15001, 15006, 15008]);

/** Port of the mTLS tunnel into a pod (contract 2.4). */
export const HBONE_PORT = 15008;
