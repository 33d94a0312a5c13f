import type { Identity, Logger, PodInfo } from '@kmesh/api';
import type { MeshChange, MeshView, NodeContext } from '@kmesh/orchestration';
import type { ConnectionObserver, Reporter } from '@kmesh/probe';
import type { ShareLimits } from './pod/descriptor-share.ts';

/** A certificate for the tunnel; satisfied by `WorkloadCertificate` of the controller. */
export interface TunnelCertificate {
  readonly certificateChainPem: string;
  readonly privateKeyPem: string;
  /** The trust bundle: the only trusted roots for peers. */
  readonly rootsPem: readonly string[];
}

/** Source of certificates; satisfied by `CertificateManager` of the controller. */
export interface CertificateSource {
  /** Returns the available certificate, without waiting. */
  current?(identity: Identity): TunnelCertificate | undefined;
  certificate(
    identity: Identity,
    priority: 'RealTime',
    wait: { readonly waitMilliseconds: number },
  ): Promise<TunnelCertificate>;
}

/** Revocation lists (`CRL_PATH`), PEM or DER. */
export interface RevocationSource {
  readonly lists: readonly Uint8Array[];
  /** Calls `listener` after each reload; returns an unsubscribe function. */
  onChange(listener: () => void): () => void;
}

/** The mesh and its change notifications; satisfied by `MeshState`. */
export interface TunnelMesh extends MeshView {
  subscribe(listener: (change: MeshChange) => void): () => void;
}

/** Counters that belong to no connection record. */
export interface TunnelCounters {
  /** Counts a handshake or a live connection refused for a revoked certificate. */
  revocationRejected(reporter: Reporter): void;
  /** Counts a live connection whose chain is unknown, so that revocation cannot cut it. */
  revocationUntracked(reporter: Reporter): void;
  /** Counts the resolution of a destination known only by host name (contract 7.5). */
  onDemandDns(source: import('@kmesh/api').Workload, hostname: string): void;
  /** Counts that connections had to wait at a listener, mostly for lack of file descriptors. */
  acceptFailed(): void;
  /** Counts a connection refused because its pod's share of the descriptors is used up. */
  shareExceeded(pod: PodInfo): void;
}

/** Settings of the tunnel; names follow the controller's configuration. Times in milliseconds. */
export interface TunnelSettings {
  /** Data threads; default 1. A pod's connections stay on one of them. */
  readonly threads?: number;
  /** SO_MARK of every socket created in a pod; absent = none. */
  readonly mark?: number | undefined;
  readonly portReuse?: boolean;
  readonly ipv6?: boolean;
  /** undefined: keep the client's address when possible; true: fail when impossible; false: never. */
  readonly originalSource?: boolean | undefined;
  readonly localhostApplicationTunnel?: boolean;
  readonly responseBaggage?: boolean;
  readonly illegalPorts?: ReadonlySet<number>;
  readonly http2?: {
    readonly streamWindowBytes?: number;
    readonly connectionWindowBytes?: number;
    readonly frameBytes?: number;
    readonly serverStreams?: number;
    readonly pingIntervalMilliseconds?: number;
    readonly pingTimeoutMilliseconds?: number;
  };
  readonly pool?: {
    readonly maximumStreams?: number;
    readonly releaseMilliseconds?: number;
  };
  readonly keepalive?: {
    readonly enabled: boolean;
    readonly timeMilliseconds: number;
    readonly intervalMilliseconds: number;
    readonly retries: number;
    readonly userTimeoutEnabled: boolean;
  };
  readonly connectTimeoutMilliseconds?: number;
  /** How long a connection waits for its own workload and certificate. */
  readonly ownWaitMilliseconds?: number;
  /** Descriptors of the process, and the maximum per pod. */
  readonly share?: ShareLimits;
  readonly tls12?: boolean;
  readonly postQuantumOnly?: boolean;
  readonly policyInfoLogging?: boolean;
  /** Interval of byte counts to the observer. */
  readonly progressMilliseconds?: number;
  /** Timeout for a receiver that takes no data after the other end has gone. Default: 5 minutes. */
  readonly stallMilliseconds?: number;
  readonly socks5?: boolean;
  /** Ports of the per-pod listeners; only tests change them. */
  readonly ports?: { readonly outbound: number; readonly plaintext: number; readonly hbone: number };
}

/** The kernel table of connections that the connect hook sent to the outbound port; satisfied by `BpfMap`. */
export interface HandoffTable {
  readonly fd: number;
  readonly keySize: number;
  readonly valueSize: number;
}

/** The endpoints that the connect hook chose for connections of the tunnel path. */
interface ChosenEndpoints {
  /** Keyed by client; each entry is removed when the connection is accepted. Satisfied by `BpfMap`. */
  readonly table: HandoffTable;
  /** Returns the uid of a workload by its number in the table. */
  uidOf(workload: number): string | undefined;
}

export interface TunnelOptions {
  readonly mesh: TunnelMesh;
  readonly node: NodeContext;
  readonly certificates: CertificateSource;
  readonly observer: ConnectionObserver;
  readonly logger: Logger;
  readonly settings?: TunnelSettings;
  readonly revocations?: RevocationSource | undefined;
  /** Looked up for the original destination before conntrack; absent: only conntrack is used. */
  readonly handoffs?: HandoffTable | undefined;
  /** Endpoints chosen for connections before they were accepted. Absent: none. */
  readonly picks?: ChosenEndpoints | undefined;
  readonly counters?: Partial<TunnelCounters>;
  /**
   * Asks the control plane for resources that a decision lacks; resolves when they are in the mesh or do not exist,
   * rejects without an answer. Absent: the mesh is complete.
   */
  readonly demand?: ((names: readonly string[]) => Promise<void>) | undefined;
  /** Resolves all addresses of a host name; default: the node's resolver. */
  readonly resolveHostname?: (hostname: string) => Promise<readonly string[]>;
}
