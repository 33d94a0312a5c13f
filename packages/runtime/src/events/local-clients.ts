import { flowHash, type KernelConnectionStart, type RawEndpoint, sameEndpoint } from './kernel-start.ts';

/** A server may take a while to close what its client has closed. */
const batchesKept = 8;

/**
 * The client sides of this node's kernel connections, found by the two ends of a connection: so its server side learns whose
 * connection it accepted.
 */
export class LocalClients {
  /** Almost always one start per hash; the rare others are chained. */
  readonly #byHash = new Map<number, KernelConnectionStart | KernelConnectionStart[]>();
  /** Closed clients by batch, the latest last: the server side's event may come later. */
  #departed: KernelConnectionStart[][] = [[]];

  add(start: KernelConnectionStart): void {
    const { hash } = start;
    const present = this.#byHash.get(hash);
    if (present === undefined) this.#byHash.set(hash, start);
    else this.#byHash.set(hash, Array.isArray(present) ? [...present, start] : [present, start]);
  }

  /** The latest client with exactly these ends. */
  find(client: RawEndpoint, server: RawEndpoint): KernelConnectionStart | undefined {
    const present = this.#byHash.get(flowHash(client, server));
    if (present === undefined) return undefined;
    const matches = (start: KernelConnectionStart) =>
      sameEndpoint(start.client, client) && sameEndpoint(start.server, server);
    if (Array.isArray(present)) return present.findLast(matches);
    return matches(present) ? present : undefined;
  }

  /** The connection has closed; it is forgotten some batches later. */
  depart(start: KernelConnectionStart): void {
    this.#departed.at(-1)?.push(start);
  }

  /** One more batch was handled. */
  nextBatch(): void {
    if (this.#departed.length > batchesKept) {
      for (const start of this.#departed.shift() ?? []) this.#remove(start);
    }
    this.#departed.push([]);
  }

  clear(): void {
    this.#byHash.clear();
    this.#departed = [[]];
  }

  #remove(start: KernelConnectionStart): void {
    const { hash } = start;
    const present = this.#byHash.get(hash);
    if (present === start) this.#byHash.delete(hash);
    else if (Array.isArray(present)) {
      const left = present.filter((other) => other !== start);
      if (left.length === 0) this.#byHash.delete(hash);
      else this.#byHash.set(hash, left);
    }
  }
}
