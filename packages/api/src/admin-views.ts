/** Data of the admin page and `kmeshctl`; served at `/kmesh/overview`. Rates are per second. */
export interface Overview {
  readonly version: string;
  readonly node: string;
  readonly startedAt: string;
  /** Unfinished start-up tasks; empty means ready. */
  readonly pending: readonly string[];
  readonly pods: readonly OverviewPod[];
  /** At most a few hundred. */
  readonly routes: readonly OverviewRoute[];
  /** At most a few hundred; services with traffic of this node's pods first. */
  readonly services: readonly OverviewService[];
  /** Total number of services in the mesh. */
  readonly serviceCount: number;
  readonly workloadCount: number;
  readonly policyCount: number;
  readonly connections: readonly OverviewConnection[];
  /** Total number of open connections; `connections` has at most a few hundred. */
  readonly connectionCount: number;
  readonly paths: readonly { readonly path: string; readonly reason: string; readonly connections: number }[];
  /** Capabilities of the kernel path, with the reason for each that is off. */
  readonly capabilities: readonly OverviewCapability[];
  readonly controlPlane: OverviewControlPlane;
  /** The cgroup that this daemon serves (empty: all) and the CNI agent's socket. */
  readonly places: { readonly cgroup: string; readonly agentSocket: string };
  /** Pods of this node that reached a share, since the start. */
  readonly limits: readonly OverviewLimit[];
}

export interface OverviewLimit {
  readonly namespace: string;
  readonly name: string;
  readonly limit: 'descriptors' | 'log lines' | 'series';
  /** Number of refused connections, suppressed lines, or connections counted as `other`. */
  readonly times: number;
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
  /** `namespace/name` of the workload, or the address if it is not in the mesh. */
  readonly source: string;
  readonly destination: string;
  readonly sourceAddress: string;
  readonly destinationAddress: string;
  /** `namespace/name` of the addressed service; empty if a workload was addressed. */
  readonly service: string;
  /** The side on this node; a connection between two of its pods appears once, as `source`. */
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
  /** Reason for being off, and the remedy. */
  readonly reason: string;
}

interface OverviewControlPlane {
  readonly address: string;
  readonly connected: boolean;
  /** The address, or the reason for having no connection. */
  readonly detail: string;
  /** The setting that likely caused the failure; empty if unknown. */
  readonly setting: string;
  /** RFC 3339; empty while connected or connecting. */
  readonly nextTryAt: string;
  /** Whether it refuses to send routes; connections are then not split by weights. */
  readonly routesRefused: boolean;
}

/** Response of `/kmesh/connections`. */
export interface ConnectionsView {
  /** Number of matching open connections; `connections` has the busiest of them. */
  readonly total: number;
  readonly connections: readonly OverviewConnection[];
}

/** Cumulative cost of a kernel program since it was loaded. */
export interface HookCost {
  readonly program: string;
  readonly runs: number;
  readonly nanoseconds: number;
}

/** Reason for which a kernel table refused an entry. */
export type RefusalReason =
  /** The table has no free entry. */
  | 'table-full'
  /** Every slot for the key is taken. */
  | 'no-place'
  /** No free range is long enough for the endpoints of a service port. */
  | 'range-too-long'
  /** The bucket of the pod's namespace cookie is full. */
  | 'bucket-full'
  /** The pod's locality or network differs from its node's. */
  | 'other-locality';

/** Usage of one kernel table, and its refusals since the start. */
export interface TableUsage {
  readonly table: 'pods' | 'frontends' | 'cidr_frontends' | 'endpoints' | 'verdicts';
  readonly used: number;
  readonly capacity: number;
  readonly refused: Readonly<Partial<Record<RefusalReason, number>>>;
}

/** Response of `/kmesh/tables`. */
export interface TablesView {
  /** Reason for having no tables; empty while the kernel path is on. */
  readonly off: string;
  readonly usage: readonly TableUsage[];
  readonly hooks: readonly HookCost[];
  /** Whether the mesh has a change that the tables do not have yet. */
  readonly behind: boolean;
  /** The pods of this node. */
  readonly pods: readonly TablesPod[];
  /** Entries of the requested address. */
  readonly address?: { readonly ip: string; readonly entries: readonly TableEntry[] };
}

/** A pod of this node in the kernel tables. */
export interface TablesPod {
  readonly namespace: string;
  readonly name: string;
  /**
   * `kernel`: enrolled, and attested to other pods of the node. `unattested`: enrolled, but connections between it and
   * other pods take the tunnel path because it lacks a valid certificate or the wire at its interface. `tunnel`: not
   * enrolled.
   */
  readonly state: 'kernel' | 'unattested' | 'tunnel';
  /** No capture rules were found in it: connections that cannot be handed off to its proxy are refused. */
  readonly bare: boolean;
  /**
   * Whether the wire at all of its interfaces delivers packets to other pods of the node itself. Otherwise they are
   * judged, but pass the node's network. Absent while no wire is attached.
   */
  readonly delivered?: boolean;
}

/** One entry of the frontend table, with ids resolved to names. */
export interface TableEntry {
  /** The client namespace that the entry is visible to; empty: all. */
  readonly namespace: string;
  /** 0: every port without a specific entry. */
  readonly port: number;
  readonly action: string;
  /** `namespace/hostname` of the service; empty if none. */
  readonly service: string;
  /** Uid of the workload at the address; empty unless the action is `workload`. */
  readonly workload: string;
}

/** The part of the decision that a step describes. */
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

/** One possible outcome of a connection. */
export interface WhyOutcome {
  /** Share of all draws, 0 to 1. */
  readonly share: number;
  /** As in the access log; `outside`: never measured, such as a pod's calls to itself; `none`: refused. */
  readonly path: 'kernel' | 'tunnel' | 'outside' | 'none';
  /** As in `kmesh_connections_path_total`; for a refusal by the tunnel path, its category. */
  readonly reason: string;
  /** `refused`: cannot be routed; `denied`: by a policy of the destination. */
  readonly verdict: 'allowed' | 'denied' | 'refused';
  /** `namespace/name` of the destination workload; empty if it is not in the mesh. */
  readonly workload: string;
  /** Address and port to connect to; empty if refused. */
  readonly address: string;
  /** Reason for this path, as a sentence. */
  readonly because: string;
}

/** Response of `/kmesh/why`. */
export interface Why {
  readonly source: string;
  readonly destination: string;
  /** The verdict of every outcome, or `varies`. */
  readonly verdict: WhyOutcome['verdict'] | 'varies';
  readonly path: WhyOutcome['path'] | 'varies';
  /** The most likely first. */
  readonly outcomes: readonly WhyOutcome[];
  readonly steps: readonly WhyStep[];
}

/** A route of the overview. */
export interface OverviewRoute {
  /** `namespace/name` */
  readonly route: string;
  /** The share of each backend, by service port. */
  readonly shares: readonly {
    /** `namespace/name:port` */
    readonly service: string;
    readonly backend: string;
    /** 0 to 1. */
    readonly share: number;
    /** Why the share is refused; empty if it is served. */
    readonly problem: string;
  }[];
  /** Why it is not applied, or not everywhere. */
  readonly problems: readonly string[];
}
