/** Indexes of a kernel array, lowest first; a freed one is given again, so free only what no program can still read. */
export class IndexPool {
  readonly capacity: number;
  readonly #free: number[] = [];
  #next: number;
  #used = 0;

  constructor(capacity: number, first = 0) {
    this.capacity = capacity;
    this.#next = first;
  }

  get used(): number {
    return this.#used;
  }

  /** An index, or undefined when all are in use. */
  allocate(): number | undefined {
    const index = this.#free.pop() ?? (this.#next < this.capacity ? this.#next++ : undefined);
    if (index !== undefined) this.#used++;
    return index;
  }

  free(index: number): void {
    this.#free.push(index);
    this.#used--;
  }
}
