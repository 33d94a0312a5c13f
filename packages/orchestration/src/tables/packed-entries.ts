/** Keys and values of a batch operation, packed and growing. */
export class PackedEntries {
  readonly #keySize: number;
  readonly #valueSize: number;
  #keys: DataView<ArrayBuffer>;
  #values: DataView<ArrayBuffer>;
  #count = 0;

  constructor(keySize: number, valueSize: number) {
    this.#keySize = keySize;
    this.#valueSize = valueSize;
    this.#keys = new DataView(new ArrayBuffer(64 * keySize));
    this.#values = new DataView(new ArrayBuffer(64 * valueSize));
  }

  get count(): number {
    return this.#count;
  }

  /** Adds one entry, which `encode` writes at the given offsets. */
  push(encode: (keys: DataView, keyOffset: number, values: DataView, valueOffset: number) => void): void {
    if ((this.#count + 1) * this.#keySize > this.#keys.byteLength) {
      this.#keys = doubled(this.#keys);
      this.#values = doubled(this.#values);
    }
    encode(this.#keys, this.#count * this.#keySize, this.#values, this.#count * this.#valueSize);
    this.#count++;
  }

  /** The packed bytes of entries `from` to `from + count`. */
  slice(from: number, count: number): { keys: Uint8Array; values: Uint8Array } {
    return {
      keys: new Uint8Array(this.#keys.buffer, from * this.#keySize, count * this.#keySize),
      values: new Uint8Array(this.#values.buffer, from * this.#valueSize, count * this.#valueSize),
    };
  }

  clear(): void {
    this.#count = 0;
  }
}

function doubled(view: DataView<ArrayBuffer>): DataView<ArrayBuffer> {
  const buffer = new ArrayBuffer(Math.max(view.byteLength * 2, 64));
  new Uint8Array(buffer).set(new Uint8Array(view.buffer));
  return new DataView(buffer);
}
