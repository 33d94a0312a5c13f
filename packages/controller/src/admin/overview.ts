/** What the page for people and `kmeshctl` show; served at `/kmesh/overview`. Rates are per second. */
export interface Overview {
  readonly version: string;
  readonly node: string;
  readonly startedAt: string;
  /** Start-up tasks that are not done; empty means ready. */
  readonly pending: readonly string[];
  readonly pods: readonly OverviewPod[];
  readonly services: readonly OverviewService[];
  readonly connections: readonly OverviewConnection[];
  /** Open connections in total: `connections` shows at most a few hundred. */
  readonly connectionCount: number;
  readonly paths: readonly { readonly path: string; readonly reason: string; readonly connections: number }[];
  /** What of the kernel path is on, and why something is off. */
  readonly capabilities: readonly OverviewCapability[];
  readonly controlPlane: OverviewControlPlane;
}

export interface OverviewPod {
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
  readonly opened: number;
  readonly failed: number;
}

export interface OverviewConnection {
  readonly source: string;
  readonly destination: string;
  readonly service: string;
  readonly path: string;
  readonly seconds: number;
  readonly sentBytes: number;
  readonly receivedBytes: number;
  readonly sentBytesPerSecond: number;
  readonly receivedBytesPerSecond: number;
}

export interface OverviewCapability {
  readonly name: string;
  readonly available: boolean;
  /** Why it is off, and what to do about it. */
  readonly reason: string;
}

export interface OverviewControlPlane {
  readonly address: string;
  readonly connected: boolean;
  readonly detail: string;
}
