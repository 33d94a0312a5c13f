import type { Endpoint, Policy, Route, Service, Workload } from '@kmesh/api';

/**
 * The lookups that decisions need. `MeshState` implements it; tests may use their own implementation.
 *
 * Every lookup is constant or logarithmic in the size of the mesh. A view is consistent until its reader yields to the
 * event loop.
 */
export interface MeshView {
  workload(uid: string): Workload | undefined;
  /** By `namespace/hostname`. */
  service(key: string): Service | undefined;
  /** By `namespace/name`. */
  policy(key: string): Policy | undefined;
  /** Endpoints of a service, health-filtered (docs/contract.md 3.7), keyed by workload uid. */
  endpoints(serviceKey: string): ReadonlyMap<string, Endpoint>;
  /**
   * The highest-ranked workload on an address (docs/contract.md 3.6); host-network workloads are never found here.
   */
  workloadByAddress(network: string, ip: string): Workload | undefined;
  /** Workloads of a node by identity and name, for in-pod proxies (docs/contract.md 10.3). */
  localWorkload(namespace: string, serviceAccount: string, name: string): Workload | undefined;
  /** Every service with exactly this VIP, in order of arrival. */
  servicesByVip(network: string, ip: string): readonly Service[];
  /** Every service with a CIDR VIP that contains the address, longest prefix first. */
  servicesByCidr(
    network: string,
    ip: string,
  ): readonly { readonly service: Service; readonly prefixLength: number }[];
  /** Every service with this hostname, in any namespace. */
  servicesByHostname(hostname: string): readonly Service[];
  workloadByHostname(namespace: string, hostname: string): Workload | undefined;
  /** Policies of scope Namespace in `namespace`; the empty text selects the global ones. */
  policiesOfNamespace(namespace: string): readonly Policy[];
  /** Routes for a host name, the oldest first. */
  routesOf(hostname: string): readonly Route[];
  /** Whether HTTP routes are applied to connections instead of requests: `KMESH_HTTP_ROUTES`. */
  readonly routesHttpByConnection: boolean;
}

/**
 * The mesh at a past time, for at most a few seconds; older times, and objects without a change since, give the current
 * record.
 */
export interface MeshHistory {
  /** @param time nanoseconds of CLOCK_MONOTONIC */
  workloadAt(uid: string, time: number): Workload | undefined;
  workloadByAddressAt(network: string, ip: string, time: number): Workload | undefined;
  serviceAt(key: string, time: number): Service | undefined;
}

/** Location of the proxy. */
export interface NodeContext {
  readonly node: string;
  readonly network: string;
  readonly clusterId: string;
}

/** The objects that one batch of updates touched: what derived tables may have to recompute. */
export interface MeshChange {
  /** Uids of workloads added, changed or removed. */
  readonly workloads: ReadonlySet<string>;
  /** Keys of services added, changed or removed, and of services with changed endpoints. */
  readonly services: ReadonlySet<string>;
  /** Keys of policies added, changed or removed. */
  readonly policies: ReadonlySet<string>;
  /** `network/ip` of VIPs and workload addresses that may resolve differently now. */
  readonly addresses: ReadonlySet<string>;
  /** Whether CIDR VIPs were added or removed. */
  readonly cidrs: boolean;
}

/** A {@link MeshChange} under construction. */
export interface ChangeDraft extends MeshChange {
  readonly workloads: Set<string>;
  readonly services: Set<string>;
  readonly policies: Set<string>;
  readonly addresses: Set<string>;
  cidrs: boolean;
}

/** Returns a change that touches nothing. */
export function emptyChange(): ChangeDraft {
  return {
    workloads: new Set(),
    services: new Set(),
    policies: new Set(),
    addresses: new Set(),
    cidrs: false,
  };
}

/** Returns whether a change touches nothing. */
export function isEmptyChange(change: MeshChange): boolean {
  const { workloads, services, policies, addresses, cidrs } = change;
  return workloads.size + services.size + policies.size + addresses.size === 0 && !cidrs;
}

/** Adds `change` to `draft`. */
export function addChange(draft: ChangeDraft, change: MeshChange): void {
  for (const uid of change.workloads) draft.workloads.add(uid);
  for (const key of change.services) draft.services.add(key);
  for (const key of change.policies) draft.policies.add(key);
  for (const address of change.addresses) draft.addresses.add(address);
  draft.cidrs ||= change.cidrs;
}

/** Adds every address of a workload to `draft`. */
export function noteWorkloadAddresses(draft: ChangeDraft, workload: Workload | undefined): void {
  if (workload === undefined || workload.networkMode === 'HostNetwork') return;
  for (const ip of workload.addresses) draft.addresses.add(`${workload.network}/${ip}`);
}

/** Adds every VIP of a service to `draft`. */
export function noteServiceAddresses(draft: ChangeDraft, service: Service | undefined): void {
  if (service === undefined) return;
  for (const { network, ip } of service.vips) draft.addresses.add(`${network}/${ip}`);
  if (service.cidrVips.length > 0) draft.cidrs = true;
}
