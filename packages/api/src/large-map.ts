const shardCount = 64;

/**
 * A `Map` with text keys for 100,000 entries and more. A plain map of that size rehashes in one step, which blocks the
 * event loop for 10 ms; this one is sharded, and each shard rehashes separately.
 *
 * Iteration is not in insertion order. As with `Map`, entries may be deleted while iterating.
 */
export class LargeMap<Value> {
  readonly #shards: readonly Map<string, Value>[] = Array.from({ length: shardCount }, () => new Map());

  get size(): number {
    let size = 0;
    for (const shard of this.#shards) size += shard.size;
    return size;
  }

  get(key: string): Value | undefined {
    return this.#shard(key).get(key);
  }

  has(key: string): boolean {
    return this.#shard(key).has(key);
  }

  set(key: string, value: Value): this {
    this.#shard(key).set(key, value);
    return this;
  }

  delete(key: string): boolean {
    return this.#shard(key).delete(key);
  }

  clear(): void {
    for (const shard of this.#shards) shard.clear();
  }

  *keys(): Generator<string> {
    for (const shard of this.#shards) yield* shard.keys();
  }

  *values(): Generator<Value> {
    for (const shard of this.#shards) yield* shard.values();
  }

  *[Symbol.iterator](): Generator<[key: string, value: Value]> {
    for (const shard of this.#shards) yield* shard;
  }

  /** Selects the shard by the end of the key: keys share their beginnings. */
  #shard(key: string): Map<string, Value> {
    let hash = key.length;
    for (let at = Math.max(0, key.length - 8); at < key.length; at++)
      hash = (hash * 31 + key.charCodeAt(at)) | 0;
    return this.#shards[(hash ^ (hash >>> 7)) & (shardCount - 1)] as Map<string, Value>;
  }
}
