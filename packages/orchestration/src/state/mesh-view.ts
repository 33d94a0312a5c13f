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
