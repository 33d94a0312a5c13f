/** Number of released names kept: events of connections that outlive their workload or service carry old ids. */
const RELEASED_NAMES_KEPT = 65_536;

/**
 * Assigns numbers to names (workload uids, service keys, namespaces) in kernel tables and events. An id is never
 * reused: a socket keeps its ids for its lifetime, and its close event must not name another workload.
 */
export class Identifiers {
  readonly #ids = new Map<string, number>();
  readonly #names = new Map<number, string>();
  readonly #released: number[] = [];
  #next: number;

  /** @param first the first id; 0 means "none" in every table. */
  constructor(first = 1) {
    this.#next = first;
  }

  get size(): number {
    return this.#ids.size;
  }

  /** Returns the id of a name, assigned at the first call. */
  idOf(name: string): number {
    let id = this.#ids.get(name);
    if (id === undefined) {
      id = this.#next++;
      this.#ids.set(name, id);
      this.#names.set(id, name);
    }
    return id;
  }

  /** Returns the id of a name if it has one. */
  find(name: string): number | undefined {
    return this.#ids.get(name);
  }

  /** Returns the name of an id, also some time after its release. */
  nameOf(id: number): string | undefined {
    return this.#names.get(id);
  }

  /** Releases a name; if it returns, it gets a new id. */
  release(name: string): void {
    const id = this.#ids.get(name);
    if (id === undefined) return;
    this.#ids.delete(name);
    this.#released.push(id);
    if (this.#released.length <= RELEASED_NAMES_KEPT * 2) return;
    for (const old of this.#released.splice(0, RELEASED_NAMES_KEPT)) this.#names.delete(old);
  }
}
