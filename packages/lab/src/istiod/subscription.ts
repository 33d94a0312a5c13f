import type { ResourceStore, StoredResource } from './resource-store.ts';

/** What one stream watches of one type, and which versions it holds. */
export class Subscription {
  readonly typeUrl: string;
  /** Every resource of the type. */
  readonly wildcard: boolean;
  readonly #names: Set<string>;
  readonly #node: string;
  /** Name → version that the client has, or was sent. */
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

  /** Everything to send now: what is watched and not held in this version, and what is held but gone. */
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

  /** The part of a change that this subscription sees. */
  affected(
    store: ResourceStore,
    names: ReadonlySet<string>,
  ): { resources: StoredResource[]; removed: string[] } {
    const watched = this.wildcard
      ? undefined
      : new Set([...this.#watched(store)].map((resource) => resource.name));
    const resources: StoredResource[] = [];
    const removed: string[] = [];
    for (const name of names) {
      const resource = store.resources(this.typeUrl).get(name);
      if (resource === undefined) {
        if (this.#held.has(name) || this.#names.has(name)) removed.push(name);
      } else if (watched === undefined || watched.has(name)) {
        resources.push(resource);
      }
    }
    return { resources, removed };
  }

  /** Resources for names just requested; unknown names come back as removed. */
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
    for (const resource of resources) this.#held.set(resource.name, resource.version);
    for (const name of removed) this.#held.delete(name);
  }

  #isNews(resource: StoredResource): boolean {
    const held = this.#held.get(resource.name);
    return held === undefined || held !== resource.version || resource.version === '';
  }

  *#watched(store: ResourceStore): Iterable<StoredResource> {
    const direct = [...this.#names].flatMap((name) => store.find(this.typeUrl, name));
    yield* this.#withEndpoints(store, direct);
    if (this.#node === '') return;
    for (const resource of store.resources(this.typeUrl).values()) {
      if (resource.node === this.#node) yield resource;
    }
  }

  /** Subscribing to a service brings its workloads along. */
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
