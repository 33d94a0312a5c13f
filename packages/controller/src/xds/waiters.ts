/** Callers that wait for a resource by name: on-demand lookups (ambient contract 3.3). */
export class Waiters {
  readonly #waiting = new Map<string, (() => void)[]>();

  /** Adds a caller; the result says whether it is the first one for this name. */
  add(name: string): { readonly first: boolean; readonly done: Promise<void> } {
    const { promise: done, resolve } = Promise.withResolvers<void>();
    const others = this.#waiting.get(name);
    if (others === undefined) this.#waiting.set(name, [resolve]);
    else others.push(resolve);
    return { first: others === undefined, done };
  }

  /** Releases everybody who waits for one of `names`. */
  release(names: readonly string[]): void {
    if (this.#waiting.size === 0) return;
    for (const name of names) {
      const waiting = this.#waiting.get(name);
      this.#waiting.delete(name);
      for (const resolve of waiting ?? []) resolve();
    }
  }

  /** Names that somebody waits for. */
  names(): IterableIterator<string> {
    return this.#waiting.keys();
  }

  get size(): number {
    return this.#waiting.size;
  }
}
