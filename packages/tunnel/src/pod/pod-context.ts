import type { Logger, PodInfo, Workload } from '@kmesh/api';
import type { NodeContext } from '@kmesh/orchestration';
import type { ConnectionObserver } from '@kmesh/probe';
import type { Engine } from '../engine/engine.ts';
import type { ConnectionTracker } from '../inbound/connection-tracker.ts';
import type { PeerBaggage } from '../inbound/peer-baggage.ts';
import type {
  CertificateSource,
  TunnelCertificate,
  TunnelCounters,
  TunnelMesh,
  TunnelOptions,
} from '../options.ts';
import type { SessionPool } from '../outbound/pool.ts';
import type { ResolvedSettings } from '../settings.ts';
import type { TlsContexts } from '../tls/contexts.ts';
import type { Carried } from './carried.ts';
import type { PodShare } from './descriptor-share.ts';
import type { OpenHandshakes } from './open-handshakes.ts';
import type { ServedSession } from './served-session.ts';

/** The inner connection of double HBONE once its peer is known (contract 6.9); it carries one flow. */
export interface NestedSession {
  readonly id: number;
  readonly peerChain: readonly Uint8Array[];
  /** Its peer, as named in error texts. */
  readonly where: string;
  readonly carried: Carried;
}

/** State and services shared by the connections of one pod. */
export interface PodContext {
  readonly uid: string;
  readonly info: PodInfo;
  readonly engine: Engine;
  /** Engine id of the pod's namespace; 0 = the process's own. */
  readonly namespace: number;
  readonly mesh: TunnelMesh;
  readonly node: NodeContext;
  readonly certificates: CertificateSource;
  readonly observer: ConnectionObserver;
  readonly logger: Logger;
  readonly settings: ResolvedSettings;
  readonly tls: TlsContexts;
  /** Descriptions that peers of this node send. */
  readonly peers: PeerBaggage;
  readonly counters: TunnelCounters;
  readonly resolveHostname: (hostname: string) => Promise<readonly string[]>;
  /** Asks the control plane for resources; absent if the mesh is complete. */
  readonly demand: TunnelOptions['demand'];
  /** Returns the uid of the endpoint that was chosen for a connection before it was accepted, by its number. */
  readonly pickOf: (pick: number) => string | undefined;
  readonly pool: SessionPool;
  readonly tracker: ConnectionTracker;
  /** Descriptors of its connections. */
  readonly share: PodShare;
  /** Returns whether the engine may apply decisions of this pod itself. */
  mayPlan(): boolean;
  /** Call for each connection that a plan admitted. @param madeAt when the plan was made, as of `performance.now()` */
  reviewPlans(madeAt: number): void;
  /** Whether the client's address is preserved towards the application. */
  readonly preserveSource: boolean;
  /** Connections with a record. */
  readonly carried: Set<Carried>;
  /** HBONE connections that this pod serves. */
  readonly served: Set<ServedSession>;
  /** Of all pods. */
  readonly handshakes: OpenHandshakes<ServedSession>;
  /** Inner connections that this pod opened through gateways. */
  readonly nested: Set<NestedSession>;
  /** The pod's own workload, when it is known. */
  ownWorkload(): Workload | undefined;
  /** Waits for the pod's own workload; rejects with `KMESH_WORKLOAD_UNKNOWN`. */
  awaitOwnWorkload(): Promise<Workload>;
  /** Returns the certificate of a workload, waiting for it if needed. */
  certificate(workload: Workload): TunnelCertificate | Promise<TunnelCertificate>;
}
