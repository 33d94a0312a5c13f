import type { Policy } from '@kmesh/api';
import { compilePolicy } from '../policy/match.ts';

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
