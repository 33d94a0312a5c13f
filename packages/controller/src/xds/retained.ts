import { LargeMap, type MeshUpdate } from '@kmesh/api';
import type { ResourceUpdate } from './decode-resource.ts';

/** What a held resource is: the removal of a bare name depends on it (ambient contract 3.5). */
type HeldKind = ResourceUpdate['kind'];

/**
 * The resources of one type that the mesh state holds because of this client: their kind, and the version that the
 * control plane may assume at a reconnect. A resource whose newest version was rejected is still held (its old version
 * serves), but its version is not told, so that it is sent again (ambient contract 3.3).
 */
export class RetainedResources {
  readonly #versions: Record<HeldKind, LargeMap<string | undefined>> = {
    workload: new LargeMap(),
    service: new LargeMap(),
    policy: new LargeMap(),
  };

  /** Notes an applied resource; `undefined` unless the name was held as another kind, which then has to go. */
  accept(name: string, kind: HeldKind, version: string): HeldKind | undefined {
    const other = kind === 'workload' ? 'service' : 'workload';
    const replaced = kind !== 'policy' && this.#versions[other].delete(name) ? other : undefined;
    this.#versions[kind].set(name, version);
    return replaced;
  }

  /** Forgets the version of a name whose newest content was rejected. */
  reject(name: string): void {
    for (const versions of Object.values(this.#versions)) {
      if (versions.has(name)) versions.set(name, undefined);
    }
  }

  /** Forgets a removed name and says what it was. */
  remove(name: string): HeldKind | undefined {
    for (const [kind, versions] of Object.entries(this.#versions)) {
      if (versions.delete(name)) return kind as HeldKind;
    }
    return undefined;
  }

  /** Names with the versions to tell at a reconnect. */
  *versions(): Generator<readonly [name: string, version: string]> {
    for (const versions of Object.values(this.#versions)) {
      for (const [name, version] of versions) if (version !== undefined) yield [name, version];
    }
  }

  get size(): number {
    const { workload, service, policy } = this.#versions;
    return workload.size + service.size + policy.size;
  }
}

/** The removal of a held resource. Policy and service names are their keys, workload names their uids. */
export function removalOf(kind: HeldKind, name: string): MeshUpdate {
  switch (kind) {
    case 'workload':
      return { kind: 'removeWorkload', uid: name };
    case 'service':
      return { kind: 'removeService', key: name };
    case 'policy':
      return { kind: 'removePolicy', key: name };
  }
}
