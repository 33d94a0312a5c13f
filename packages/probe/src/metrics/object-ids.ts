/**
 * Small numbers for the objects that name a connection, so that a set of them is found by adding numbers instead of
 * comparing 27 texts. Immutable mesh records are found by identity; what is made anew per connection by its content.
 */
export class ObjectIds {
  readonly #byIdentity = new WeakMap<object, number>();
  readonly #byContent = new Map<string, number>();
  readonly #byPair = new Map<number, number>();
  #next = 1;

  /** 0 for `undefined`. Equal content gives the same number, whatever the object. */
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

  /** 0 for `undefined`. Only the very same object gives the same number. */
  ofRecord(object: object | undefined): number {
    if (object === undefined) return 0;
    const known = this.#byIdentity.get(object);
    if (known !== undefined) return known;
    const id = this.#next++;
    this.#byIdentity.set(object, id);
    return id;
  }

  /** One number for two; both below 2^26. */
  pair(left: number, right: number): number {
    const key = left * 67_108_864 + right;
    const known = this.#byPair.get(key);
    if (known !== undefined) return known;
    const id = this.#next++;
    this.#byPair.set(key, id);
    return id;
  }

  /** Numbers given so far: a bound on what is kept. The owner starts with new ids when there are too many. */
  get given(): number {
    return this.#next;
  }
}
