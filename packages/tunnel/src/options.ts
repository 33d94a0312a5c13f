import type { Identity, Logger, PodInfo } from '@kmesh/api';
import type { MeshChange, MeshView, NodeContext } from '@kmesh/orchestration';
import type { ConnectionObserver, Reporter } from '@kmesh/probe';
import type { ShareLimits } from './pod/descriptor-share.ts';

/** A certificate as the tunnel presents it; `WorkloadCertificate` of the controller has these fields. */
export interface TunnelCertificate {
  readonly certificateChainPem: string;
  readonly privateKeyPem: string;
  /** The trust bundle: the only roots that count for peers. */
  readonly rootsPem: readonly string[];
}

/** Where certificates come from; `CertificateManager` of the controller fits. */
export interface CertificateSource {
  /** The certificate at hand, without waiting. */
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

/** The mesh, and word of its changes; `MeshState` fits. */
export interface TunnelMesh extends MeshView {
  subscribe(listener: (change: MeshChange) => void): () => void;
}

/** Counts that belong to no connection record. */
export interface TunnelCounters {
  /** A handshake or a live connection was refused for a revoked certificate. */
  revocationRejected(reporter: Reporter): void;
  /** A live connection whose chain is unknown, so that revocation cannot cut it. */
  revocationUntracked(reporter: Reporter): void;
  /** A destination known only by host name was resolved (contract 7.5). */
  onDemandDns(source: import('@kmesh/api').Workload, hostname: string): void;
  /** Connections had to wait at a listener, for want of file descriptors mostly. */
  acceptFailed(): void;
  /** A connection of a pod was refused because the pod holds its share of the descriptors. */
  shareExceeded(pod: PodInfo): void;
}

/** Settings of the tunnel; names follow the controller's configuration. Times in milliseconds. */
export interface TunnelSettings {
  /** Data threads; 1 when absent. A pod's connections stay on one of them. */
  readonly threads?: number;
  /** SO_MARK of every socket made in a pod; absent = none. */
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
  /** Descriptors of the process, and the most that one pod may hold. */
  readonly share?: ShareLimits;
  readonly tls12?: boolean;
  readonly postQuantumOnly?: boolean;
  readonly policyInfoLogging?: boolean;
  /** How often byte counts reach the observer. */
  readonly progressMilliseconds?: number;
  /** After the other end has gone, a receiver that takes nothing for so long is given up. Default: 5 minutes. */
  readonly stallMilliseconds?: number;
  readonly socks5?: boolean;
  /** Ports of the per-pod listeners; only tests change them. */
  readonly ports?: { readonly outbound: number; readonly plaintext: number; readonly hbone: number };
}

/** The kernel table of connections that the connect hook sent to the outbound port; `BpfMap` fits. */
export interface HandoffTable {
  readonly fd: number;
  readonly keySize: number;
  readonly valueSize: number;
}

/** The endpoints that the connect hook chose for connections which the tunnel path serves. */
interface ChosenEndpoints {
  /** By client; each entry is taken out when the connection is accepted. `BpfMap` fits. */
  readonly table: HandoffTable;
  /** Uid of a workload by its number in the table. */
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
  /** Asked for the original destination before conntrack is; absent: only conntrack is. */
  readonly handoffs?: HandoffTable | undefined;
  /** Endpoints that were chosen for connections before they came here. Absent: none ever was. */
  readonly picks?: ChosenEndpoints | undefined;
  readonly counters?: Partial<TunnelCounters>;
  /** All addresses of a host name; the node's resolver when absent. */
  readonly resolveHostname?: (hostname: string) => Promise<readonly string[]>;
}
