/** How many released names are still known: events of connections that outlive their workload or service carry old ids. */
const RELEASED_NAMES_KEPT = 65_536;

/**
 * Numbers for names (workload uids, service keys, namespaces) in kernel tables and events. An id is never given
 * twice: a socket keeps its ids for as long as it lives, and its closing event must not name another workload.
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

  /** The id of a name, given at the first call. */
  idOf(name: string): number {
    let id = this.#ids.get(name);
    if (id === undefined) {
      id = this.#next++;
      this.#ids.set(name, id);
      this.#names.set(id, name);
    }
    return id;
  }

  /** The id of a name that already has one. */
  find(name: string): number | undefined {
    return this.#ids.get(name);
  }

  /** The name of an id, also some time after its release. */
  nameOf(id: number): string | undefined {
    return this.#names.get(id);
  }

  /** The name is gone; should it come back, it gets a new id. */
  release(name: string): void {
    const id = this.#ids.get(name);
    if (id === undefined) return;
    this.#ids.delete(name);
    this.#released.push(id);
    if (this.#released.length <= RELEASED_NAMES_KEPT * 2) return;
    for (const old of this.#released.splice(0, RELEASED_NAMES_KEPT)) this.#names.delete(old);
  }
}
