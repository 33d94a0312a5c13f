import {
  type Endpoint,
  KmeshError,
  LargeMap,
  type MeshUpdate,
  type Policy,
  type Route,
  type Service,
  type Workload,
} from '@kmesh/api';
import type { MeshHistory, MeshView } from './mesh-view.ts';
import {
  type ChangeDraft,
  emptyChange,
  isEmptyChange,
  type MeshChange,
  noteServiceAddresses,
  noteWorkloadAddresses,
} from './mesh-view.ts';
import { RecentRecords } from './recent-records.ts';
import { LocalWorkloads, PolicyIndex, RouteIndex, WorkloadAddresses } from './record-indexes.ts';
import { ServiceEndpoints, ServiceIndex } from './service-index.ts';

/** Options of a {@link MeshState}. */
interface MeshStateOptions {
  /**
   * The node whose workloads are local; if absent or empty, every workload is local (docs/contract.md 2.2,
   * `NODE_NAME`).
   */
  readonly node?: string;
  /** The own cluster, whose workloads are preferred where names are not unique. */
  readonly clusterId?: string;
  /** Applies HTTP routes to connections; see `MeshView`. */
  readonly routesHttpByConnection?: boolean;
}

/**
 * The mesh as this proxy knows it: every record of the control plane and the local mesh file, indexed for decisions.
 * Implements the state rules of docs/contract.md 3.5 to 3.7.
 *
 * Records are stored without copying, so producers should share strings and maps. {@link MeshState.apply} is atomic
 * for readers: it does not yield to the event loop, and neither may a reader that needs a consistent view. Returned
 * maps are live; do not keep them across a yield.
 */
export class MeshState implements MeshView, MeshHistory {
  readonly routesHttpByConnection: boolean;
  readonly #node: string;
  readonly #workloads = new LargeMap<Workload>();
  readonly #addresses = new WorkloadAddresses();
  readonly #workloadHostnames = new Map<string, Workload[]>();
  readonly #local: LocalWorkloads;
  readonly #services = new ServiceIndex();
  readonly #endpoints = new ServiceEndpoints();
  readonly #policies = new PolicyIndex();
  readonly #routes = new RouteIndex();
  readonly #recent = new RecentRecords();
  readonly #listeners = new Set<(change: MeshChange) => void>();

  constructor(options: MeshStateOptions = {}) {
    this.#node = options.node ?? '';
    this.#local = new LocalWorkloads(options.clusterId);
    this.routesHttpByConnection = options.routesHttpByConnection ?? false;
  }

  /**
   * Applies updates in order as one step and returns what they touched. A service that several updates concern is
   * re-indexed once. Listeners of {@link MeshState.subscribe} run before this returns.
   */
  apply(updates: Iterable<MeshUpdate>): MeshChange {
    const change = emptyChange();
    for (const update of updates) this.#applyOne(update, change);
    this.#noteRouted(change);
    this.#endpoints.touch(change.services);
    if (!isEmptyChange(change)) for (const listener of [...this.#listeners]) listener(change);
    return change;
  }

  /** Calls `listener` after every batch that touched something. Returns an unsubscribe function. */
  subscribe(listener: (change: MeshChange) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  workload(uid: string): Workload | undefined {
    return this.#workloads.get(uid);
  }

  service(key: string): Service | undefined {
    return this.#services.get(key);
  }

  policy(key: string): Policy | undefined {
    return this.#policies.get(key);
  }

  endpoints(serviceKey: string): ReadonlyMap<string, Endpoint> {
    return this.#endpoints.live(serviceKey);
  }

  /** Returns a number that changes with every batch that touched the service or its endpoints; for caches. */
  serviceGeneration(serviceKey: string): number {
    return this.#endpoints.generation(serviceKey);
  }

  /** Returns endpoints of services that have not arrived, by service key: `stagedServices` of the config dump. */
  stagedEndpoints(): ReadonlyMap<string, ReadonlyMap<string, Endpoint>> {
    return this.#endpoints.staged();
  }

  workloadByAddress(network: string, ip: string): Workload | undefined {
    return this.#addresses.find(network, ip);
  }

  workloadAt(uid: string, time: number): Workload | undefined {
    return this.#recent.workload(uid, time) ?? this.workload(uid);
  }

  workloadByAddressAt(network: string, ip: string, time: number): Workload | undefined {
    return this.#recent.workloadByAddress(network, ip, time) ?? this.workloadByAddress(network, ip);
  }

  serviceAt(key: string, time: number): Service | undefined {
    return this.#recent.service(key, time) ?? this.service(key);
  }

  localWorkload(namespace: string, serviceAccount: string, name: string): Workload | undefined {
    return this.#local.find(namespace, serviceAccount, name);
  }

  /** Returns every workload of this node, for certificate prefetch (docs/contract.md 5). */
  localWorkloads(): Iterable<Workload> {
    return this.#local.values();
  }

  servicesByVip(network: string, ip: string): readonly Service[] {
    return this.#services.byVip(network, ip);
  }

  servicesByCidr(
    network: string,
    ip: string,
  ): readonly { readonly service: Service; readonly prefixLength: number }[] {
    return this.#services.byCidr(network, ip);
  }

  servicesByHostname(hostname: string): readonly Service[] {
    return this.#services.byHostname(hostname);
  }

  workloadByHostname(namespace: string, hostname: string): Workload | undefined {
    return this.#workloadHostnames.get(`${namespace}/${hostname}`)?.[0];
  }

  policiesOfNamespace(namespace: string): readonly Policy[] {
    return this.#policies.ofNamespace(namespace);
  }

  routesOf(hostname: string): readonly Route[] {
    return this.#routes.of(hostname);
  }

  routes(): Iterable<Route> {
    return this.#routes.values();
  }

  workloads(): Iterable<Workload> {
    return this.#workloads.values();
  }

  services(): Iterable<Service> {
    return this.#services.values();
  }

  policies(): Iterable<Policy> {
    return this.#policies.values();
  }

  /** Numbers of records. */
  get counts(): { readonly workloads: number; readonly services: number; readonly policies: number } {
    return {
      workloads: this.#workloads.size,
      services: this.#services.size,
      policies: this.#policies.size,
    };
  }

  #applyOne(update: MeshUpdate, change: ChangeDraft): void {
    switch (update.kind) {
      case 'workload':
        this.#replaceWorkload(update.workload.uid, update.workload, change);
        break;
      case 'removeWorkload':
        this.#replaceWorkload(update.uid, undefined, change);
        break;
      case 'service':
        this.#replaceService(serviceKey(update.service), update.service, change);
        break;
      case 'removeService':
        this.#replaceService(update.key, undefined, change);
        break;
      case 'policy': {
        const key = policyKey(update.policy);
        this.#policies.put(key, update.policy);
        change.policies.add(key);
        break;
      }
      case 'removePolicy':
        if (this.#policies.get(update.key) === undefined) break;
        this.#policies.remove(update.key);
        change.policies.add(update.key);
        break;
      case 'route':
        this.#replaceRoute(routeKey(update.route), update.route, change);
        break;
      case 'removeRoute':
        this.#replaceRoute(update.key, undefined, change);
        break;
    }
  }

  #replaceRoute(key: string, next: Route | undefined, change: ChangeDraft): void {
    for (const hostname of this.#routes.replace(key, next)) {
      this.#noteDialled(hostname, change);
    }
  }

  /** Marks services as changed if their route leads to a changed service. */
  #noteRouted(change: ChangeDraft): void {
    if (this.#routes.size === 0 || change.services.size === 0) return;
    for (const key of [...change.services]) {
      const hostname = key.slice(key.indexOf('/') + 1);
      for (const dialled of this.#routes.leadingTo(hostname)) this.#noteDialled(dialled, change);
    }
  }

  /** Marks services as changed because their routes changed, possibly only for some namespaces. */
  #noteDialled(hostname: string, change: ChangeDraft): void {
    for (const service of this.#services.byHostname(hostname)) {
      change.services.add(serviceKey(service));
      if (service.cidrVips.length > 0) change.cidrs = true;
    }
  }

  #replaceWorkload(uid: string, next: Workload | undefined, change: ChangeDraft): void {
    const previous = this.#workloads.get(uid);
    if (previous === undefined && next === undefined) return;
    if (previous !== undefined) {
      const owned = previous.addresses.filter(
        (ip) => this.#addresses.find(previous.network, ip) === previous,
      );
      this.#recent.workloadReplaced(previous, owned);
    }
    if (next === undefined) this.#workloads.delete(uid);
    else this.#workloads.set(uid, next);
    change.workloads.add(uid);
    noteWorkloadAddresses(change, previous);
    noteWorkloadAddresses(change, next);
    this.#addresses.update(previous, next);
    const isLocal = next !== undefined && (this.#node === '' || next.node === this.#node);
    this.#local.update(previous, isLocal ? next : undefined);
    this.#replaceHostname(previous, next);

    for (const key of previous?.services.keys() ?? []) {
      if (next?.services.has(key)) continue;
      this.#endpoints.remove(key, uid);
      if (this.#services.get(key) !== undefined) change.services.add(key);
    }
    if (next === undefined) return;
    for (const [key, ports] of next.services) {
      this.#endpoints.put(key, { workloadUid: uid, ports, status: next.status });
      if (this.#services.get(key) !== undefined) change.services.add(key);
    }
  }

  #replaceService(key: string, next: Service | undefined, change: ChangeDraft): void {
    const previous = this.#services.get(key);
    if (previous === undefined && next === undefined) return;
    if (previous !== undefined) this.#recent.serviceReplaced(key, previous);
    this.#services.update(key, previous, next);
    if (next === undefined) this.#endpoints.serviceRemoved(key);
    else this.#endpoints.serviceArrived(key, next.loadBalancer?.healthPolicy ?? 'OnlyHealthy');
    change.services.add(key);
    noteServiceAddresses(change, previous);
    noteServiceAddresses(change, next);
  }

  #replaceHostname(previous: Workload | undefined, next: Workload | undefined): void {
    if (previous !== undefined && previous.hostname !== '') {
      const key = `${previous.namespace}/${previous.hostname}`;
      const rest = this.#workloadHostnames.get(key)?.filter((workload) => workload !== previous) ?? [];
      if (rest.length === 0) this.#workloadHostnames.delete(key);
      else this.#workloadHostnames.set(key, rest);
    }
    if (next !== undefined && next.hostname !== '') {
      const key = `${next.namespace}/${next.hostname}`;
      this.#workloadHostnames.set(key, [...(this.#workloadHostnames.get(key) ?? []), next]);
    }
  }
}

/** Returns the key of a service: `namespace/hostname`. */
export function serviceKey(service: Pick<Service, 'namespace' | 'hostname'>): string {
  return `${service.namespace}/${service.hostname}`;
}

/** Returns the key of a policy: `namespace/name`. */
export function policyKey(policy: Policy): string {
  return `${policy.namespace}/${policy.name}`;
}

/** Returns the key of a route: `namespace/name`. */
export function routeKey(route: Pick<Route, 'namespace' | 'name'>): string {
  return `${route.namespace}/${route.name}`;
}

/** Time that a connection waits for its own workload, in milliseconds (docs/contract.md 6.6, 7.2). */
const WORKLOAD_WAIT_MILLISECONDS = 5_000;

/** Options of {@link waitForWorkload}. */
interface WorkloadWaitOptions {
  /** Maximum wait; {@link WORKLOAD_WAIT_MILLISECONDS} by default. */
  readonly limitMilliseconds?: number;
  /** Subject of the error message. */
  readonly description?: string;
}

/**
 * Resolves with the workload that `find` returns, now or after the next matching update.
 *
 * @throws {KmeshError} `KMESH_WORKLOAD_UNKNOWN` after the limit.
 */
export function waitForWorkload(
  state: Pick<MeshState, 'subscribe'>,
  find: () => Workload | undefined,
  options: WorkloadWaitOptions = {},
): Promise<Workload> {
  const present = find();
  if (present !== undefined) return Promise.resolve(present);
  const limit = options.limitMilliseconds ?? WORKLOAD_WAIT_MILLISECONDS;
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => {
      unsubscribe();
      const subject = options.description ?? 'its own workload';
      reject(
        new KmeshError(
          'KMESH_WORKLOAD_UNKNOWN',
          `The control plane sent no workload for ${subject} within ${limit} ms; check that istiod knows the pod ` +
            'and that the xDS connection is up.',
        ),
      );
    }, limit);
    const unsubscribe = state.subscribe(() => {
      const workload = find();
      if (workload === undefined) return;
      clearTimeout(timer);
      unsubscribe();
      resolve(workload);
    });
  });
}
