/**
 * The indexes of the mesh state besides those of services: workloads by address, workloads of the node by name, policies
 * by namespace, routes by host.
 */
import { LargeMap, type Policy, type Route, type Workload } from '@kmesh/api';
import { compilePolicy } from '../policy/match.ts';

/**
 * Workloads by (network, IP). Several may claim one address (docs/contract.md 3.6): an HBONE pod outranks a plain
 * pod, that another HBONE workload, that the rest; among equals the latest arrival wins, so a reused pod IP resolves
 * to the new pod. When the winner is removed, the next claimant takes over.
 *
 * A single claimant is stored without an array, and the keys are the workload's own strings: at 100,000 workloads
 * this index costs only its hash table.
 */
export class WorkloadAddresses {
  readonly #networks = new Map<string, LargeMap<Workload | Workload[]>>();

  find(network: string, ip: string): Workload | undefined {
    const claim = this.#networks.get(network)?.get(ip);
    return Array.isArray(claim) ? claim[0] : claim;
  }

  /** Replaces `previous` by `next` at all their addresses; either may be absent. */
  update(previous: Workload | undefined, next: Workload | undefined): void {
    for (const ip of claimedAddresses(previous)) {
      if (previous !== undefined && !claims(next, previous.network, ip)) this.#remove(previous, ip);
    }
    for (const ip of claimedAddresses(next)) {
      if (next !== undefined) this.#put(previous, next, ip);
    }
  }

  #put(previous: Workload | undefined, next: Workload, ip: string): void {
    let addresses = this.#networks.get(next.network);
    if (addresses === undefined) {
      addresses = new LargeMap();
      this.#networks.set(next.network, addresses);
    }
    const claim = addresses.get(ip);
    if (claim === undefined || claim === previous || claim === next) {
      addresses.set(ip, next);
      return;
    }
    const claimants = Array.isArray(claim) ? claim : [claim];
    const position = previous === undefined ? -1 : claimants.indexOf(previous);
    if (position >= 0) claimants[position] = next;
    else if (!claimants.includes(next)) claimants.unshift(next);
    claimants.sort((left, right) => claimRank(right) - claimRank(left));
    addresses.set(ip, claimants);
  }

  #remove(workload: Workload, ip: string): void {
    const addresses = this.#networks.get(workload.network);
    const claim = addresses?.get(ip);
    if (addresses === undefined || claim === undefined) return;
    if (!Array.isArray(claim)) {
      if (claim === workload) addresses.delete(ip);
    } else {
      const rest = claim.filter((claimant) => claimant !== workload);
      const [only] = rest;
      addresses.set(ip, rest.length === 1 && only !== undefined ? only : rest);
    }
    if (addresses.size === 0) this.#networks.delete(workload.network);
  }
}

const NO_ADDRESSES: readonly string[] = [];

function claimedAddresses(workload: Workload | undefined): readonly string[] {
  return workload === undefined || workload.networkMode === 'HostNetwork' ? NO_ADDRESSES : workload.addresses;
}

function claims(workload: Workload | undefined, network: string, ip: string): boolean {
  return workload?.network === network && claimedAddresses(workload).includes(ip);
}

/** Returns the rank of a claim on an address; the highest wins (docs/contract.md 3.6). */
function claimRank(workload: Workload): number {
  const pod = workload.uid.includes('//Pod/');
  if (workload.protocol === 'HBONE') return pod ? 3 : 1;
  return pod ? 2 : 0;
}

/**
 * Workloads of the node by namespace, service account and name: all that the CNI agent reports of a pod. Other workloads
 * may have the same ones, such as the pod of an equal StatefulSet in another cluster, on a node with an equal name. A
 * workload of the own cluster outranks the rest, then a pod does, then the one that came first. When the winner is
 * removed, the next one takes over.
 */
export class LocalWorkloads {
  readonly #clusterId: string | undefined;
  /** The winner is the first of its list. */
  readonly #byName = new Map<string, Workload[]>();

  constructor(clusterId: string | undefined) {
    this.#clusterId = clusterId;
  }

  find(namespace: string, serviceAccount: string, name: string): Workload | undefined {
    return this.#byName.get(localKey({ namespace, serviceAccount, name }))?.[0];
  }

  *values(): Generator<Workload> {
    for (const claimants of this.#byName.values()) yield* claimants;
  }

  /** Replaces `previous` by `next`; either may be absent, or not of the node. */
  update(previous: Workload | undefined, next: Workload | undefined): void {
    const key = next && localKey(next);
    const position =
      previous === undefined ? -1 : (this.#byName.get(localKey(previous))?.indexOf(previous) ?? -1);
    if (previous !== undefined && position >= 0) {
      const old = localKey(previous);
      const claimants = this.#byName.get(old) ?? [];
      if (next !== undefined && key === old) {
        claimants[position] = next;
        this.#rank(claimants);
        return;
      }
      claimants.splice(position, 1);
      if (claimants.length === 0) this.#byName.delete(old);
    }
    if (next === undefined || key === undefined) return;
    const claimants = this.#byName.get(key);
    if (claimants === undefined) this.#byName.set(key, [next]);
    else {
      claimants.push(next);
      this.#rank(claimants);
    }
  }

  #rank(claimants: Workload[]): void {
    if (claimants.length === 1) return;
    const rank = ({ clusterId, uid }: Workload): number =>
      (clusterId === this.#clusterId ? 2 : 0) + (uid.includes('//Pod/') ? 1 : 0);
    claimants.sort((left, right) => rank(right) - rank(left));
  }
}

function localKey(workload: Pick<Workload, 'namespace' | 'serviceAccount' | 'name'>): string {
  return `${workload.namespace}/${workload.serviceAccount}/${workload.name}`;
}

const NO_POLICIES: readonly Policy[] = [];

/** Policies by key and by covered namespace; global ones are under the empty namespace (docs/contract.md 8.1). */
export class PolicyIndex {
  readonly #byKey = new Map<string, Policy>();
  readonly #byNamespace = new Map<string, Map<string, Policy>>();
  /** Lists for readers, built on demand: a batch of changes costs one list. */
  readonly #lists = new Map<string, readonly Policy[]>();

  get size(): number {
    return this.#byKey.size;
  }

  get(key: string): Policy | undefined {
    return this.#byKey.get(key);
  }

  values(): IterableIterator<Policy> {
    return this.#byKey.values();
  }

  ofNamespace(namespace: string): readonly Policy[] {
    let list = this.#lists.get(namespace);
    if (list !== undefined) return list;
    const policies = this.#byNamespace.get(namespace);
    if (policies === undefined) return NO_POLICIES;
    list = [...policies.values()];
    this.#lists.set(namespace, list);
    return list;
  }

  put(key: string, policy: Policy): void {
    // Compiled here, within the slices of a push, and not all at once for the first connection.
    compilePolicy(policy);
    const previous = this.#byKey.get(key);
    const namespace = coveredNamespace(policy);
    if (previous !== undefined && coveredNamespace(previous) !== namespace) this.#leave(key, previous);
    this.#byKey.set(key, policy);
    if (namespace === undefined) return;
    let policies = this.#byNamespace.get(namespace);
    if (policies === undefined) {
      policies = new Map();
      this.#byNamespace.set(namespace, policies);
    }
    policies.set(key, policy);
    this.#lists.delete(namespace);
  }

  remove(key: string): void {
    const previous = this.#byKey.get(key);
    if (previous === undefined) return;
    this.#leave(key, previous);
    this.#byKey.delete(key);
  }

  #leave(key: string, policy: Policy): void {
    const namespace = coveredNamespace(policy);
    if (namespace === undefined) return;
    const policies = this.#byNamespace.get(namespace);
    policies?.delete(key);
    if (policies?.size === 0) this.#byNamespace.delete(namespace);
    this.#lists.delete(namespace);
  }
}

/** Returns the namespace that a policy covers; a selector policy is reached only through its workloads. */
function coveredNamespace(policy: Policy): string | undefined {
  if (policy.scope === 'Global') return '';
  return policy.scope === 'Namespace' ? policy.namespace : undefined;
}

const none: readonly never[] = [];

/** Routes by key, by the host names they apply to, and by the host names of their backends. */
export class RouteIndex {
  readonly #routes = new Map<string, Route>();
  readonly #byHost = new Map<string, readonly Route[]>();
  /** Hosts that begin with `*`, for services that no route names. Such routes are reported and never applied. */
  #wildcards: readonly string[] = [];
  /** Host name of a backend → routes that use it. */
  readonly #byBackend = new Map<string, Set<Route>>();

  get size(): number {
    return this.#routes.size;
  }

  values(): Iterable<Route> {
    return this.#routes.values();
  }

  /** Returns the routes for a host name: the oldest first, then by key. */
  of(hostname: string): readonly Route[] {
    const routes = this.#byHost.get(hostname);
    if (routes !== undefined || this.#wildcards.length === 0) return routes ?? none;
    const wildcard = this.#wildcards.find((host) => hostname.endsWith(host.slice(1)));
    return (wildcard === undefined ? undefined : this.#byHost.get(wildcard)) ?? none;
  }

  /** Yields the host names whose routes have `hostname` as a backend. */
  *leadingTo(hostname: string): Generator<string> {
    for (const route of this.#byBackend.get(hostname) ?? none) yield* route.hosts;
  }

  /** Replaces or removes a route. Returns the host names that it applied or applies to. */
  replace(key: string, next: Route | undefined): ReadonlySet<string> {
    const previous = this.#routes.get(key);
    const hosts = new Set([...(previous?.hosts ?? none), ...(next?.hosts ?? none)]);
    if (previous !== undefined) for (const host of backendsOf(previous)) this.#forgetBackend(host, previous);
    if (next === undefined) this.#routes.delete(key);
    else this.#routes.set(key, next);
    for (const host of next === undefined ? none : backendsOf(next)) {
      const routes = this.#byBackend.get(host) ?? new Set();
      this.#byBackend.set(host, routes.add(next as Route));
    }
    for (const host of hosts) {
      const routes = (this.#byHost.get(host) ?? none).filter((route) => route !== previous);
      if (next?.hosts.includes(host)) routes.push(next);
      if (routes.length === 0) this.#byHost.delete(host);
      else this.#byHost.set(host, routes.sort(byAge));
      if (host.startsWith('*')) this.#indexWildcards();
    }
    return hosts;
  }

  /** Sorts wildcards: the longest, and thus most specific, first. */
  #indexWildcards(): void {
    const hosts = [...this.#byHost.keys()].filter((host) => host.startsWith('*'));
    this.#wildcards = hosts.sort((left, right) => right.length - left.length);
  }

  #forgetBackend(host: string, route: Route): void {
    const routes = this.#byBackend.get(host);
    routes?.delete(route);
    if (routes?.size === 0) this.#byBackend.delete(host);
  }
}

function byAge(left: Route, right: Route): number {
  if (left.createdAt !== right.createdAt) return left.createdAt - right.createdAt;
  const [a, b] = [`${left.namespace}/${left.name}`, `${right.namespace}/${right.name}`];
  return a < b ? -1 : a > b ? 1 : 0;
}

function backendsOf(route: Route): ReadonlySet<string> {
  const hosts = new Set<string>();
  for (const { backends } of [...(route.tcp ?? none), ...(route.http ?? none)]) {
    for (const { hostname } of backends) hosts.add(hostname);
  }
  return hosts;
}
