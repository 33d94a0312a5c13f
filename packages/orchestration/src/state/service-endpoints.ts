import type { Endpoint, HealthPolicy } from '@kmesh/api';

interface EndpointSet {
  /** Endpoints that traffic may use; while the service is unknown, the staged ones. */
  readonly live: Map<string, Endpoint>;
  /** Endpoints that the health policy withholds; allocated on first use. */
  withheld: Map<string, Endpoint> | undefined;
  /** `undefined` while the service is unknown and its endpoints are staged. */
  healthPolicy: HealthPolicy | undefined;
  /** Incremented once per batch that touched this set. */
  generation: number;
}

const NO_ENDPOINTS: ReadonlyMap<string, Endpoint> = new Map();

/**
 * Endpoints by service, filtered by health, and the staging area for services that have not arrived
 * (docs/contract.md 3.7).
 *
 * One deliberate difference from the behaviour in the contract: unhealthy endpoints are withheld, not dropped, so a
 * service that changes to AllowAll uses them at once.
 */
export class ServiceEndpoints {
  readonly #sets = new Map<string, EndpointSet>();

  /** Endpoints that traffic may use; empty for an unknown service. */
  live(serviceKey: string): ReadonlyMap<string, Endpoint> {
    const set = this.#sets.get(serviceKey);
    return set?.healthPolicy === undefined ? NO_ENDPOINTS : set.live;
  }

  generation(serviceKey: string): number {
    return this.#sets.get(serviceKey)?.generation ?? 0;
  }

  /** Endpoints of unknown services, by service key. */
  staged(): Map<string, ReadonlyMap<string, Endpoint>> {
    const staged = new Map<string, ReadonlyMap<string, Endpoint>>();
    for (const [key, set] of this.#sets) {
      if (set.healthPolicy === undefined) staged.set(key, set.live);
    }
    return staged;
  }

  put(serviceKey: string, endpoint: Endpoint): void {
    const set = this.#setOf(serviceKey);
    if (usable(set, endpoint)) {
      set.live.set(endpoint.workloadUid, endpoint);
      set.withheld?.delete(endpoint.workloadUid);
    } else {
      set.live.delete(endpoint.workloadUid);
      set.withheld ??= new Map();
      set.withheld.set(endpoint.workloadUid, endpoint);
    }
  }

  remove(serviceKey: string, workloadUid: string): void {
    const set = this.#sets.get(serviceKey);
    if (set === undefined) return;
    set.live.delete(workloadUid);
    set.withheld?.delete(workloadUid);
    if (set.healthPolicy === undefined && set.live.size === 0) this.#sets.delete(serviceKey);
  }

  /** Applies the health policy of a new or updated service to its endpoints, staged ones included. */
  serviceArrived(serviceKey: string, healthPolicy: HealthPolicy): void {
    const set = this.#setOf(serviceKey);
    if (set.healthPolicy === healthPolicy) return;
    set.healthPolicy = healthPolicy;
    const held = set.withheld;
    set.withheld = undefined;
    for (const [uid, endpoint] of set.live) {
      if (usable(set, endpoint)) continue;
      set.live.delete(uid);
      set.withheld ??= new Map();
      set.withheld.set(uid, endpoint);
    }
    for (const endpoint of held?.values() ?? []) this.put(serviceKey, endpoint);
  }

  /** Drops a service and its endpoints; only a new update of a workload brings an endpoint back. */
  serviceRemoved(serviceKey: string): void {
    this.#sets.delete(serviceKey);
  }

  /** Ends one batch: increments the generation of these services, so that derived data is recomputed. */
  touch(serviceKeys: Iterable<string>): void {
    for (const key of serviceKeys) {
      const set = this.#sets.get(key);
      if (set !== undefined) set.generation++;
    }
  }

  #setOf(serviceKey: string): EndpointSet {
    let set = this.#sets.get(serviceKey);
    if (set === undefined) {
      set = { live: new Map(), withheld: undefined, healthPolicy: undefined, generation: 0 };
      this.#sets.set(serviceKey, set);
    }
    return set;
  }
}

function usable(set: EndpointSet, endpoint: Endpoint): boolean {
  return endpoint.status === 'Healthy' || set.healthPolicy !== 'OnlyHealthy';
}
