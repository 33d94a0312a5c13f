import type { ResourceStore, StoredResource } from './resource-store.ts';

/** One stream's subscription to one type, with the versions that the client holds. */
export class Subscription {
  readonly typeUrl: string;
  /** Every resource of the type. */
  readonly wildcard: boolean;
  readonly #names: Set<string>;
  readonly #node: string;
  /** Version that the client has, or was sent, by name. */
  readonly #held: Map<string, string>;

  constructor(options: {
    readonly typeUrl: string;
    readonly wildcard: boolean;
    readonly names: Iterable<string>;
    readonly held: ReadonlyMap<string, string>;
    /** The client's node, whose pods are always pushed to it. */
    readonly node: string;
  }) {
    this.typeUrl = options.typeUrl;
    this.wildcard = options.wildcard;
    this.#names = new Set(options.names);
    this.#node = options.node;
    this.#held = new Map(options.held);
  }

  subscribe(names: readonly string[]): void {
    for (const name of names) this.#names.add(name);
  }

  unsubscribe(names: readonly string[]): void {
    for (const name of names) this.#names.delete(name);
  }

  /** Returns whether the client subscribed to a name, or was sent the resource of that name. */
  watches(name: string): boolean {
    return this.#names.has(name);
  }

  /**
   * Returns what to send now: watched resources not held in their current version, and held names that no longer exist.
   */
  pending(store: ResourceStore): { resources: StoredResource[]; removed: string[] } {
    const known = store.resources(this.typeUrl);
    const candidates = this.wildcard ? known.values() : this.#watched(store);
    const resources: StoredResource[] = [];
    for (const resource of candidates) if (this.#isNews(resource)) resources.push(resource);
    // A subscription by name may hold a name that is an alias.
    const exists = (name: string): boolean =>
      known.has(name) || (!this.wildcard && store.find(this.typeUrl, name).length > 0);
    const removed = [...this.#held.keys()].filter((name) => !exists(name));
    return { resources, removed };
  }

  /**
   * Returns the part of a change that this subscription watches. As with istiod, a subscription to an alias, or to a
   * service, does not include resources that appear later.
   */
  affected(
    store: ResourceStore,
    names: ReadonlySet<string>,
  ): { resources: StoredResource[]; removed: string[] } {
    const resources: StoredResource[] = [];
    const removed: string[] = [];
    for (const name of names) {
      const resource = store.resources(this.typeUrl).get(name);
      if (resource === undefined) {
        if (this.#held.has(name) || this.#names.has(name)) removed.push(name);
      } else if (this.wildcard || this.#names.has(name) || this.#isOfNode(resource)) {
        resources.push(resource);
      }
    }
    return { resources, removed };
  }

  /** Returns resources for names just requested; unknown names are reported as removed. */
  answer(store: ResourceStore, names: readonly string[]): { resources: StoredResource[]; removed: string[] } {
    const resources = new Map<string, StoredResource>();
    const removed: string[] = [];
    for (const name of names) {
      const found = store.find(this.typeUrl, name);
      if (found.length === 0) removed.push(name);
      for (const resource of this.#withEndpoints(store, found)) resources.set(resource.name, resource);
    }
    return { resources: [...resources.values()], removed };
  }

  markSent(resources: readonly StoredResource[], removed: readonly string[]): void {
    for (const resource of resources) {
      this.#held.set(resource.name, resource.version);
      if (!this.wildcard) this.#names.add(resource.name);
    }
    for (const name of removed) this.#held.delete(name);
  }

  #isNews(resource: StoredResource): boolean {
    const held = this.#held.get(resource.name);
    return held === undefined || held !== resource.version || resource.version === '';
  }

  *#watched(store: ResourceStore): Iterable<StoredResource> {
    const direct = [...this.#names].flatMap((name) => store.find(this.typeUrl, name));
    yield* this.#withEndpoints(store, direct);
    for (const resource of store.resources(this.typeUrl).values()) {
      if (this.#isOfNode(resource)) yield resource;
    }
  }

  #isOfNode({ node }: StoredResource): boolean {
    return this.#node !== '' && node === this.#node;
  }

  /** A subscription to a service includes its workloads. */
  *#withEndpoints(store: ResourceStore, found: readonly StoredResource[]): Iterable<StoredResource> {
    yield* found;
    const services = new Set(
      found.filter((resource) => resource.node === undefined).map((resource) => resource.name),
    );
    if (services.size === 0) return;
    for (const resource of store.resources(this.typeUrl).values()) {
      if (resource.services.some((key) => services.has(key))) yield resource;
    }
  }
}
