import type { GatewayAddress, Locality, PortMap } from '@kmesh/api';

/** Above this many entries a pool starts anew: sharing is lost for a while, memory stays bounded under churn. */
const maximumEntries = 200_000;

/** Values that are equal become one value: a mesh of 100,000 workloads has a few thousand distinct ones. */
class Pool<Value> {
  readonly #values = new Map<string, Value>();

  /** The value of `key`, made by `make` when it is new. */
  get(key: string, make: () => Value): Value {
    const known = this.#values.get(key);
    if (known !== undefined) return known;
    if (this.#values.size >= maximumEntries) this.#values.clear();
    const value = make();
    this.#values.set(key, value);
    return value;
  }

  get size(): number {
    return this.#values.size;
  }
}

/** The pools that conversion shares across resources and responses. */
export class Interner {
  readonly #texts = new Pool<string>();
  readonly localities = new Pool<Locality>();
  readonly gateways = new Pool<GatewayAddress>();
  readonly ports = new Pool<PortMap>();
  readonly services = new Pool<ReadonlyMap<string, PortMap>>();
  readonly nameLists = new Pool<readonly string[]>();

  /** One copy of a text that many resources carry, such as a namespace. */
  text(value: string): string {
    return value === '' ? '' : this.#texts.get(value, () => value);
  }
}
