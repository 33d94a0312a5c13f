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

/** What `/kmesh/connections` answers. */
export interface ConnectionsView {
  /** Open connections that match, of which `connections` are the busiest. */
  readonly total: number;
  readonly connections: readonly OverviewConnection[];
}

/** What a kernel program cost since it was loaded; both cumulative. */
export interface HookCost {
  readonly program: string;
  readonly runs: number;
  readonly nanoseconds: number;
}

/** Why something did not get into a kernel table. */
export type RefusalReason =
  /** The table has no free entry. */
  | 'table-full'
  /** Every entry in which the key may be is taken. */
  | 'no-place'
  /** No free run of slots is long enough for the endpoints of a service port. */
  | 'range-too-long'
  /** The bucket of the pod's namespace cookie is full. */
  | 'bucket-full'
  /** Pods of one node share its locality and network; this one has others. */
  | 'other-locality';

/** How full one kernel table is, and what it had to refuse since the start. */
export interface TableUsage {
  readonly table: 'pods' | 'frontends' | 'cidr_frontends' | 'endpoints' | 'verdicts';
  readonly used: number;
  readonly capacity: number;
  readonly refused: Readonly<Partial<Record<RefusalReason, number>>>;
}

/** What `/kmesh/tables` answers. */
export interface TablesView {
  /** Why there are none; empty while the kernel path is on. */
  readonly off: string;
  readonly usage: readonly TableUsage[];
  readonly hooks: readonly HookCost[];
  /** Entries of the address that was asked for. */
  readonly address?: { readonly ip: string; readonly entries: readonly TableEntry[] };
}

/** One entry of the frontend table, with names in place of ids. */
export interface TableEntry {
  /** The client namespace that sees it; empty: every one. */
  readonly namespace: string;
  /** 0: every port without an entry of its own. */
  readonly port: number;
  readonly action: string;
  /** `namespace/hostname` of the service; empty when there is none. */
  readonly service: string;
  /** Uid of the workload at the address; empty unless the action is `workload`. */
  readonly workload: string;
}

/** Which part of the decision a step is about. */
export type WhyStepKind =
  | 'source'
  | 'address'
  | 'service'
  | 'endpoint'
  | 'waypoint'
  | 'gateway'
  | 'route'
  | 'policy'
  | 'path';

export interface WhyStep {
  readonly step: WhyStepKind;
  readonly text: string;
}

/** The answer of `/kmesh/why`. */
export interface Why {
  readonly source: string;
  readonly destination: string;
  /** `refused`: there is no way there; `denied`: a policy at the destination says no. */
  readonly verdict: 'allowed' | 'denied' | 'refused';
  readonly path: 'kernel' | 'tunnel' | 'outside' | 'none';
  readonly steps: readonly WhyStep[];
}
