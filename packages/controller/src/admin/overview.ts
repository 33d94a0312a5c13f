/** What the page for people and `kmeshctl` show; served at `/kmesh/overview`. Rates are per second. */
export interface Overview {
  readonly version: string;
  readonly node: string;
  readonly startedAt: string;
  /** Start-up tasks that are not done; empty means ready. */
  readonly pending: readonly string[];
  readonly pods: readonly OverviewPod[];
  /** Those with traffic of this node's pods first; at most a few hundred. */
  readonly services: readonly OverviewService[];
  /** Services of the mesh in total. */
  readonly serviceCount: number;
  readonly workloadCount: number;
  readonly policyCount: number;
  readonly connections: readonly OverviewConnection[];
  /** Open connections in total: `connections` shows at most a few hundred. */
  readonly connectionCount: number;
  readonly paths: readonly { readonly path: string; readonly reason: string; readonly connections: number }[];
  /** What of the kernel path is on, and why something is off. */
  readonly capabilities: readonly OverviewCapability[];
  readonly controlPlane: OverviewControlPlane;
}

interface OverviewPod {
  readonly name: string;
  readonly namespace: string;
  readonly uid: string;
  readonly state: 'Up' | 'Pending';
  readonly addresses: readonly string[];
  readonly connections: number;
}

export interface OverviewService {
  readonly name: string;
  readonly namespace: string;
  readonly addresses: readonly string[];
  readonly healthyEndpoints: number;
  readonly endpoints: number;
  /** Connections of this node's pods since the start. */
  readonly opened: number;
  readonly failed: number;
}

export interface OverviewConnection {
  /** `namespace/name` of the workload, or the address when the mesh does not know it. */
  readonly source: string;
  readonly destination: string;
  readonly sourceAddress: string;
  readonly destinationAddress: string;
  /** Name of the addressed service, `namespace/name`; empty when a workload was addressed. */
  readonly service: string;
  /** Which side of it is on this node; a connection between two of its pods is shown once, as `source`. */
  readonly reporter: 'source' | 'destination';
  readonly path: string;
  readonly reason: string;
  readonly encrypted: boolean;
  readonly seconds: number;
  /** From the client. */
  readonly sentBytes: number;
  /** From the server. */
  readonly receivedBytes: number;
  readonly sentBytesPerSecond: number;
  readonly receivedBytesPerSecond: number;
}

interface OverviewCapability {
  readonly name: string;
  readonly available: boolean;
  /** Why it is off, and what to do about it. */
  readonly reason: string;
}

interface OverviewControlPlane {
  readonly address: string;
  readonly connected: boolean;
  /** The address, or why there is no connection. */
  readonly detail: string;
  /** The setting to look at, empty when none is to blame. */
  readonly setting: string;
  /** RFC 3339; empty while connected or connecting. */
  readonly nextTryAt: string;
}
