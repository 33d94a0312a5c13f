import { hash } from 'node:crypto';
import { LargeMap, type MeshUpdate } from '@kmesh/api';

/** Kind of a held resource; decides what the removal of its name means (docs/contract.md 3.5). */
export type HeldKind = 'workload' | 'service' | 'policy' | 'route';

/**
 * The resources of one type that the mesh state holds from this client, with kind and version for the next reconnect.
 * A resource whose newest version was rejected stays held, since its old version serves; the reconnect names it with an
 * empty version, so that the control plane sends it again, or removes it (docs/contract.md 3.3).
 */
export class RetainedResources {
  readonly #versions: Record<HeldKind, LargeMap<string | undefined>> = {
    workload: new LargeMap(),
    service: new LargeMap(),
    policy: new LargeMap(),
    route: new LargeMap(),
  };
  readonly #fingerprints = new Map<string, string>();

  /** Records an applied resource. Returns the other kind under which the name was held and must be removed, if any. */
  accept(name: string, kind: HeldKind, version: string): HeldKind | undefined {
    const other = kind === 'workload' ? 'service' : 'workload';
    const isAddress = kind === 'workload' || kind === 'service';
    const replaced = isAddress && this.#versions[other].delete(name) ? other : undefined;
    this.#versions[kind].set(name, version);
    return replaced;
  }

  /**
   * Returns whether a name is held with this payload; records the payload if not. For types that the control plane
   * sends again in full, without versions.
   */
  isRepeated(name: string, payload: Uint8Array): boolean {
    const fingerprint = hash('sha1', payload, 'base64');
    if (this.#fingerprints.get(name) === fingerprint && this.#versions.route.has(name)) return true;
    this.#fingerprints.set(name, fingerprint);
    return false;
  }

  /** Clears the version of a name whose newest version was rejected. */
  reject(name: string): void {
    this.#fingerprints.delete(name);
    for (const versions of Object.values(this.#versions)) {
      if (versions.has(name)) versions.set(name, undefined);
    }
  }

  /** Deletes a name. Returns its kind, or `undefined` if it was not held. */
  remove(name: string): HeldKind | undefined {
    this.#fingerprints.delete(name);
    for (const [kind, versions] of Object.entries(this.#versions)) {
      if (versions.delete(name)) return kind as HeldKind;
    }
    return undefined;
  }

  /** Yields names and versions for the first request after a reconnect. The control plane removes only named resources. */
  *versions(): Generator<readonly [name: string, version: string]> {
    for (const versions of Object.values(this.#versions)) {
      for (const [name, version] of versions) yield [name, version ?? ''];
    }
  }

  /** Yields the names of all held resources, including those whose newest version was rejected. */
  *names(): Generator<string> {
    for (const versions of Object.values(this.#versions)) for (const [name] of versions) yield name;
  }

  get size(): number {
    const { workload, service, policy, route } = this.#versions;
    return workload.size + service.size + policy.size + route.size;
  }
}

/** Returns the removal of a held resource. The name is the key of a policy or service, or the uid of a workload. */
export function removalOf(kind: HeldKind, name: string): MeshUpdate {
  switch (kind) {
    case 'workload':
      return { kind: 'removeWorkload', uid: name };
    case 'service':
      return { kind: 'removeService', key: name };
    case 'policy':
      return { kind: 'removePolicy', key: name };
    case 'route':
      return { kind: 'removeRoute', key: name };
  }
}

/** Callers that wait for resources by name: on-demand lookups (docs/contract.md 3.3). */
export class Waiters {
  readonly #waiting = new Map<string, Set<() => void>>();

  /**
   * Adds a caller; `first` is true for the first caller of a name.
   *
   * @param signal forgets the caller, and a name without callers: the control plane may never answer
   */
  add(name: string, signal?: AbortSignal): { readonly first: boolean; readonly done: Promise<void> } {
    const { promise: done, resolve } = Promise.withResolvers<void>();
    const others = this.#waiting.get(name);
    const waiting = others ?? new Set();
    waiting.add(resolve);
    this.#waiting.set(name, waiting);
    const forget = (): void => {
      waiting.delete(resolve);
      if (waiting.size === 0 && this.#waiting.get(name) === waiting) this.#waiting.delete(name);
    };
    signal?.addEventListener('abort', forget, { once: true });
    return { first: others === undefined, done };
  }

  /** Releases the callers that wait for one of `names`. */
  release(names: readonly string[]): void {
    if (this.#waiting.size === 0) return;
    for (const name of names) {
      const waiting = this.#waiting.get(name);
      this.#waiting.delete(name);
      for (const resolve of waiting ?? []) resolve();
    }
  }

  /** Returns the names with waiting callers. */
  names(): IterableIterator<string> {
    return this.#waiting.keys();
  }

  get size(): number {
    return this.#waiting.size;
  }
}
