/**
 * Assigns small numbers to the objects that name a connection, so that a set of them is found by adding numbers instead
 * of comparing 27 texts. Immutable mesh records are found by identity; objects created per connection by content.
 */
export class ObjectIds {
  readonly #byIdentity = new WeakMap<object, number>();
  readonly #byContent = new Map<string, number>();
  readonly #byPair = new Map<number, number>();
  #next = 1;

  /** Returns an object's number, 0 for `undefined`. Objects with equal content have the same number. */
  of(object: object | undefined, content: (object: never) => string): number {
    if (object === undefined) return 0;
    const known = this.#byIdentity.get(object);
    if (known !== undefined) return known;
    const text = content(object as never);
    let id = this.#byContent.get(text);
    if (id === undefined) {
      id = this.#next++;
      this.#byContent.set(text, id);
    }
    this.#byIdentity.set(object, id);
    return id;
  }

  /** Returns an object's number by identity, 0 for `undefined`. */
  ofRecord(object: object | undefined): number {
    if (object === undefined) return 0;
    const known = this.#byIdentity.get(object);
    if (known !== undefined) return known;
    const id = this.#next++;
    this.#byIdentity.set(object, id);
    return id;
  }

  /** Combines two numbers, both below 2^26, into one. */
  pair(left: number, right: number): number {
    const key = left * 67_108_864 + right;
    const known = this.#byPair.get(key);
    if (known !== undefined) return known;
    const id = this.#next++;
    this.#byPair.set(key, id);
    return id;
  }

  /** Count of assigned numbers, which bounds the memory. The owner starts with new ids when there are too many. */
  get given(): number {
    return this.#next;
  }
}
