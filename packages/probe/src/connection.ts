import type { Identity, Workload } from '@kmesh/api';

/** Which side of the connection reports it: the client's (`source`) or the server's (`destination`). */
export type Reporter = 'source' | 'destination';

/** Which path carried the bytes: the kernel's, or the userspace tunnel. */
export type ConnectionPath = 'kernel' | 'tunnel';

/** `mutual_tls` only where TLS was really used. */
type SecurityPolicy = 'mutual_tls' | 'unknown';

/** Contract 15.2; `-` means nothing special. */
export type ResponseFlag =
  | '-'
  | 'DENY'
  | 'CONNECT'
  | 'TLS_FAILURE'
  | 'H2_HANDSHAKE_FAILURE'
  | 'NETWORK_POLICY'
  | 'IDENTITY_ERROR'
  | 'CERT_REVOKED';

/** What a `baggage` header says about a peer (contract 6.3); an empty or missing value is `undefined`. */
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

/** The route that a connection was split by. */
export interface RoutedConnection {
  /** `namespace/name` of the route. */
  readonly route: string;
  /** The service dialled, and its port. */
  readonly service: AddressedService;
  readonly port: number;
  /** Host name of the service that served; empty where none was permitted. */
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
 * Pass the mesh model's own records (`Workload`, `Service`) and not copies: labels are cached by object identity.
 */
export interface ConnectionStart {
  readonly reporter: Reporter;
  readonly path: ConnectionPath;
  /** Why this path; a short word from a bounded set (`hbone`, `passthrough`, `same_node`…). Default: the path's name. */
  readonly pathReason?: string | undefined;
  /** Client `ip:port` (IPv6 in brackets). */
  readonly sourceAddress: string;
  /** Next hop (outbound), local address (inbound HBONE) or original destination (inbound plaintext), `ip:port`. */
  readonly destinationAddress: string;
  /** What the application dialled, `ip:port`, where that is not `destinationAddress`. Outbound only. */
  readonly dialledAddress?: string | undefined;
  /** The application's own `ip:port`, where that is not `destinationAddress`. Inbound only. */
  readonly applicationAddress?: string | undefined;
  /** The host name of the service that the client's `forwarded` names (inbound HBONE). */
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
   * The client's identity as mutual TLS proves it: own when this side opens HBONE, the peer's when it accepts it. On the kernel
   * path: as the kernel attests it.
   */
  readonly sourceIdentity?: Identity | undefined;
  /** The inner TLS identity (double HBONE); else the destination's resource names it. */
  readonly destinationIdentity?: Identity | undefined;
  readonly destinationService?: AddressedService | undefined;
  /** Where a route chose who serves. Outbound only. */
  readonly routed?: RoutedConnection | undefined;
  readonly securityPolicy: SecurityPolicy;
  /** The kernel vouches for both identities, without TLS. */
  readonly attested?: boolean | undefined;
  /** Milliseconds since the epoch; default: now. */
  readonly startedAt?: number | undefined;
  /** An earlier daemon has counted its opening and these bytes: only what follows is counted. */
  readonly earlier?: CountedBytes | undefined;
}

/** What TCP itself measured. Cumulative where it counts. */
export interface TransportMeasure {
  readonly retransmissions: number;
  /** Smoothed round-trip time; 0 = not measured. */
  readonly smoothedRoundTripMicroseconds: number;
  /** Smallest round-trip time seen; 0 = not measured. */
  readonly minimalRoundTripMicroseconds: number;
}

export interface ConnectionEnd {
  readonly flag: ResponseFlag;
  /** Why it failed, in words that a person can act on. Absent: it ended well. */
  readonly error?: string | undefined;
  /** Final cumulative count; default: the last `progress`. */
  readonly bytesFromClient?: number | undefined;
  /** Final cumulative count; default: the last `progress`. */
  readonly bytesFromServer?: number | undefined;
  /** Default: the time since `opened`. */
  readonly durationMilliseconds?: number | undefined;
  readonly transport?: TransportMeasure | undefined;
  /** It has not ended: another daemon takes it over, and counts and logs its end. */
  readonly continued?: boolean | undefined;
}

/** One open connection as one side sees it. `close` ends it; every later call does nothing. */
export interface ObservedConnection {
  /**
   * Payload bytes so far, cumulative since the connection opened; at least every 5 s while bytes move.
   * A value below the last one is ignored: counters never go down.
   */
  progress(bytesFromClient: number, bytesFromServer: number, transport?: TransportMeasure): void;
  /** What was learned after the start (double HBONE: the inner response); counts later events under the new labels. */
  relabel(change: Partial<Pick<ConnectionStart, 'derivedDestination' | 'destinationIdentity'>>): void;
  close(end: ConnectionEnd): void;
}

/** A connection refused before there was anything to count (contract 16, early deny): one log line, no metric. */
export interface EarlyDeny {
  readonly sourceAddress: string;
  readonly destinationAddress: string;
  readonly reporter: Reporter;
  readonly error: string;
  /** Where the share of a route's backend is refused. */
  readonly routed?: RoutedConnection | undefined;
  /** The pod of this node whose connection it is. */
  readonly pod?: { readonly namespace: string; readonly name: string } | undefined;
}

/**
 * The one way in which both paths report connections. Implemented by the probe, called by the tunnel and by the
 * decoder of kernel events. No method throws or waits.
 */
export interface ConnectionObserver {
  /** Call when the connection record begins: after routing and validation, before authorization (contract 18). */
  opened(start: ConnectionStart): ObservedConnection;
  /** A connection that is first reported at its end: the same as `opened` and `close`, at less cost. */
  passed?(start: ConnectionStart, end: ConnectionEnd): void;
  earlyDeny(deny: EarlyDeny): void;
  /** Accepted sockets now open: +1 at accept, −1 at close (15001 source; 15006 and 15008 destination). */
  socketsOpen(reporter: Reporter, change: 1 | -1): void;
}

/** An observer that forgets everything, for code that runs without telemetry. */
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
