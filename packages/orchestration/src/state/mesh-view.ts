import type { Endpoint, Policy, Service, Workload } from '@kmesh/api';

/**
 * What the decisions may ask of the mesh. `MeshState` is the implementation; tests may bring their own.
 *
 * All lookups are constant or logarithmic in the size of the mesh. A view is consistent for as long as its reader
 * does not yield to the event loop.
 */
export interface MeshView {
  workload(uid: string): Workload | undefined;
  /** By `namespace/hostname`. */
  service(key: string): Service | undefined;
  /** By `namespace/name`. */
  policy(key: string): Policy | undefined;
  /** Endpoints of a service, health-filtered (contract 3.7), keyed by workload uid. */
  endpoints(serviceKey: string): ReadonlyMap<string, Endpoint>;
  /** The highest-ranked workload on an address (contract 3.6); host-network workloads are never found here. */
  workloadByAddress(network: string, ip: string): Workload | undefined;
  /** Workloads of a node by identity and name, for in-pod proxies (contract 10.3). */
  localWorkload(namespace: string, serviceAccount: string, name: string): Workload | undefined;
  /** Every service that has exactly this VIP, in order of arrival. */
  servicesByVip(network: string, ip: string): readonly Service[];
  /** Every service with a CIDR VIP that contains the address, longest prefix first. */
  servicesByCidr(
    network: string,
    ip: string,
  ): readonly { readonly service: Service; readonly prefixLength: number }[];
  /** Every service with this hostname, whatever its namespace. */
  servicesByHostname(hostname: string): readonly Service[];
  workloadByHostname(namespace: string, hostname: string): Workload | undefined;
  /** Keys of policies of scope Namespace in `namespace`; the empty text asks for the global ones. */
  policiesOfNamespace(namespace: string): readonly Policy[];
}

/** What one batch of updates touched: everything that a derived table may have to look at again. */
export interface MeshChange {
  /** Uids of workloads added, changed or removed. */
  readonly workloads: ReadonlySet<string>;
  /** Keys of services added, changed or removed, and of those whose endpoints changed. */
  readonly services: ReadonlySet<string>;
  /** Keys of policies added, changed or removed. */
  readonly policies: ReadonlySet<string>;
  /** `network/ip` of addresses (VIPs and workload addresses) whose meaning may have changed. */
  readonly addresses: ReadonlySet<string>;
  /** CIDR VIPs were added or removed. */
  readonly cidrs: boolean;
}

/** What the mesh was a few seconds ago at most; before that, and where nothing changed since, what it is. */
export interface MeshHistory {
  /** @param time nanoseconds of CLOCK_MONOTONIC */
  workloadAt(uid: string, time: number): Workload | undefined;
  workloadByAddressAt(network: string, ip: string, time: number): Workload | undefined;
  serviceAt(key: string, time: number): Service | undefined;
}

/** Where the deciding proxy runs. */
export interface NodeContext {
  readonly node: string;
  readonly network: string;
  readonly clusterId: string;
}
