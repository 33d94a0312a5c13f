import type { Identity, Workload } from '@kmesh/api';

/** Which side of the connection reports it: the client's (`source`) or the server's (`destination`). */
export type Reporter = 'source' | 'destination';

/** Which path carried the bytes: the kernel path or the userspace tunnel. */
export type ConnectionPath = 'kernel' | 'tunnel';

/** `mutual_tls` only if TLS was actually used. */
type SecurityPolicy = 'mutual_tls' | 'unknown';

/** Contract 15.2; `-` means a normal end. */
export type ResponseFlag =
  | '-'
  | 'DENY'
  | 'CONNECT'
  | 'TLS_FAILURE'
  | 'H2_HANDSHAKE_FAILURE'
  | 'NETWORK_POLICY'
  | 'IDENTITY_ERROR'
  | 'CERT_REVOKED';

/** Description of a peer in a `baggage` header (contract 6.3); an empty or missing value is `undefined`. */
export interface DerivedWorkload {
  /** `k8s.cluster.name` */
  readonly cluster?: string | undefined;
  /** `k8s.namespace.name` */
  readonly namespace?: string | undefined;
  /** `k8s.<deployment|cronjob|pod|job>.name` */
  readonly workloadName?: string | undefined;
  /** `service.name` */
  readonly serviceName?: string | undefined;
  /** `service.version` */
  readonly serviceVersion?: string | undefined;
  /** `cloud.region` */
  readonly region?: string | undefined;
  /** `cloud.availability_zone` */
  readonly zone?: string | undefined;
}

/** The service that the client addressed. The mesh model's `Service` has these fields. */
export interface AddressedService {
  readonly name: string;
  readonly namespace: string;
  readonly hostname: string;
}

/** The route that distributed a connection. */
export interface RoutedConnection {
  /** `namespace/name` of the route. */
  readonly route: string;
  /** The dialled service. */
  readonly service: AddressedService;
  readonly port: number;
  /** Host name of the chosen backend service; empty if none was permitted. */
  readonly backend: string;
}

/** Payload bytes of a connection, cumulative. */
export interface CountedBytes {
  readonly fromClient: number;
  readonly fromServer: number;
}

/**
 * Everything that names a connection, taken when it opens: a reused address or a changed resource never relabels it.
 *
 * Pass the mesh model's own records (`Workload`, `Service`), not copies: labels are cached by object identity.
 */
export interface ConnectionStart {
  readonly reporter: Reporter;
  readonly path: ConnectionPath;
  /**
   * Reason for the path, a short word from a bounded set (`hbone`, `passthrough`, `same_node`…). Default: the path's
   * name.
   */
  readonly pathReason?: string | undefined;
  /** Client `ip:port` (IPv6 in brackets). */
  readonly sourceAddress: string;
  /** Next hop (outbound), local address (inbound HBONE) or original destination (inbound plaintext), `ip:port`. */
  readonly destinationAddress: string;
  /** The `ip:port` that the application dialled, if it differs from `destinationAddress`. Outbound only. */
  readonly dialledAddress?: string | undefined;
  /** The application's own `ip:port`, if it differs from `destinationAddress`. Inbound only. */
  readonly applicationAddress?: string | undefined;
  /** The host name of the service in the client's `forwarded` header (inbound HBONE). */
  readonly forwardedHost?: string | undefined;
  /** The CONNECT authority, HBONE only. */
  readonly hboneAddress?: string | undefined;
  readonly source: Workload | undefined;
  readonly destination: Workload | undefined;
  /** Baggage received with the request (inbound HBONE). */
  readonly derivedSource?: DerivedWorkload | undefined;
  /** Baggage of the inner response (double HBONE): replaces the destination's resource. */
  readonly derivedDestination?: DerivedWorkload | undefined;
  /**
   * The client's identity as proved by mutual TLS: own when this side opens HBONE, the peer's when it accepts it. On
   * the kernel path: as attested by the kernel.
   */
  readonly sourceIdentity?: Identity | undefined;
  /** The inner TLS identity (double HBONE); default: that of the destination's resource. */
  readonly destinationIdentity?: Identity | undefined;
  readonly destinationService?: AddressedService | undefined;
  /** The route that chose the backend, if any. Outbound only. */
  readonly routed?: RoutedConnection | undefined;
  readonly securityPolicy: SecurityPolicy;
  /** Whether the kernel attests both identities, without TLS. */
  readonly attested?: boolean | undefined;
  /** Milliseconds since the epoch; default: now. */
  readonly startedAt?: number | undefined;
  /** Bytes counted by an earlier daemon, which also counted the opening: only what follows is counted. */
  readonly earlier?: CountedBytes | undefined;
}

/** Measurements of TCP. Counters are cumulative. */
export interface TransportMeasure {
  readonly retransmissions: number;
  /** Smoothed round-trip time; 0 = not measured. */
  readonly smoothedRoundTripMicroseconds: number;
  /** Smallest round-trip time seen; 0 = not measured. */
  readonly minimalRoundTripMicroseconds: number;
}

export interface ConnectionEnd {
  readonly flag: ResponseFlag;
  /** Why the connection failed, as an actionable text. Absent: it ended normally. */
  readonly error?: string | undefined;
  /** Final cumulative count; default: the last `progress`. */
  readonly bytesFromClient?: number | undefined;
  /** Final cumulative count; default: the last `progress`. */
  readonly bytesFromServer?: number | undefined;
  /** Default: the time since `opened`. */
  readonly durationMilliseconds?: number | undefined;
  readonly transport?: TransportMeasure | undefined;
  /** Whether another daemon takes the connection over, and counts and logs its end. */
  readonly continued?: boolean | undefined;
}

/** One open connection as one side sees it. `close` ends it; later calls have no effect. */
export interface ObservedConnection {
  /**
   * Reports payload bytes, cumulative since the connection opened; at least every 5 s while bytes move.
   * A value below the last one is ignored: counters never decrease.
   */
  progress(bytesFromClient: number, bytesFromServer: number, transport?: TransportMeasure): void;
  /** Adds facts learned after the start (double HBONE: the inner response); later events count under the new labels. */
  relabel(change: Partial<Pick<ConnectionStart, 'derivedDestination' | 'destinationIdentity'>>): void;
  close(end: ConnectionEnd): void;
}

/** A connection refused before any bytes (contract 16, early deny): one log line, no metric. */
export interface EarlyDeny {
  readonly sourceAddress: string;
  readonly destinationAddress: string;
  readonly reporter: Reporter;
  readonly error: string;
  /** Set when the share of a route's backend is refused. */
  readonly routed?: RoutedConnection | undefined;
  /** The pod of this node that opened the connection. */
  readonly pod?: { readonly namespace: string; readonly name: string } | undefined;
}

/**
 * The interface by which both paths report connections. Implemented by the probe, called by the tunnel and by the
 * decoder of kernel events. No method throws or blocks.
 */
export interface ConnectionObserver {
  /** Begins a connection record: call after routing and validation, before authorization (contract 18). */
  opened(start: ConnectionStart): ObservedConnection;
  /** Reports a connection that is first seen at its end: same as `opened` and `close`, at less cost. */
  passed?(start: ConnectionStart, end: ConnectionEnd): void;
  earlyDeny(deny: EarlyDeny): void;
  /**
   * Changes the number of open accepted sockets: +1 at accept, −1 at close (15001 source; 15006 and 15008 destination).
   */
  socketsOpen(reporter: Reporter, change: 1 | -1): void;
}

/** An observer that discards everything, for code that runs without telemetry. */
export const silentObserver: ConnectionObserver = {
  opened: () => silentConnection,
  earlyDeny: () => undefined,
  socketsOpen: () => undefined,
};

const silentConnection: ObservedConnection = {
  progress: () => undefined,
  relabel: () => undefined,
  close: () => undefined,
};
