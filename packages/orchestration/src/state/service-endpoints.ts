import type { Endpoint, HealthPolicy } from '@kmesh/api';

interface EndpointSet {
  /** What traffic may use; while the service is unknown, everything that is staged for it. */
  readonly live: Map<string, Endpoint>;
  /** Endpoints that the health policy holds back; made only when there is one. */
  withheld: Map<string, Endpoint> | undefined;
  /** `undefined` while the service itself is unknown: its endpoints are staged. */
  healthPolicy: HealthPolicy | undefined;
  /** Raised once per batch that touched this set. */
  generation: number;
}

const NO_ENDPOINTS: ReadonlyMap<string, Endpoint> = new Map();

/**
 * Endpoints by service, filtered by health, and the staging area for services that have not arrived
 * (contract 3.7).
 *
 * One deliberate difference to the contract's observed behaviour: unhealthy endpoints are held back instead of
 * forgotten, so a service that turns to AllowAll has them at once.
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

  /** Endpoints whose service is not known, by service key. */
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

  /** The service arrived or was sent again: staged and carried-over endpoints pass the health filter. */
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

  /** The service is gone and its endpoints with it; only workloads that are sent again bring them back. */
  serviceRemoved(serviceKey: string): void {
    this.#sets.delete(serviceKey);
  }

  /** Marks one batch of changes as done: what was derived from these services is out of date. */
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
