/** A run of slots. `size` is what was asked for; the block behind it may be larger. */
export interface SlotRange {
  readonly base: number;
  readonly size: number;
}

/**
 * Runs of slots in a kernel array: buddy blocks of powers of two, so that a run which grows and shrinks for months
 * leaves no holes that cannot be joined again.
 */
export class RangeAllocator {
  readonly capacity: number;
  /** Free blocks by order: block of order n holds 2^n slots and starts at a multiple of that. */
  readonly #free: Set<number>[] = [];
  #used = 0;

  constructor(capacity: number) {
    this.capacity = capacity;
    let base = 0;
    while (base < capacity) {
      let order = Math.min(base === 0 ? 31 : Math.log2(base & -base), Math.floor(Math.log2(capacity - base)));
      order = Math.max(order, 0);
      this.#blocks(order).add(base);
      base += 2 ** order;
    }
  }

  /** Slots in allocated blocks, the unused rest of each block included. */
  get used(): number {
    return this.#used;
  }

  /** A run of `size` slots (at least 1), or undefined when no block is large enough. */
  allocate(size: number): SlotRange | undefined {
    const wanted = orderOf(size);
    let order = wanted;
    while (order < this.#free.length && this.#blocks(order).size === 0) order++;
    const [base] = this.#free[order] ?? [];
    if (base === undefined) return undefined;
    this.#blocks(order).delete(base);
    while (order > wanted) {
      order--;
      this.#blocks(order).add(base + 2 ** order);
    }
    this.#used += 2 ** wanted;
    return { base, size };
  }

  /** Gives a run back; the caller has made sure that no program reads it any more. */
  free(range: SlotRange): void {
    let order = orderOf(range.size);
    let { base } = range;
    this.#used -= 2 ** order;
    for (;;) {
      const length = 2 ** order;
      const buddy = Math.floor(base / length) % 2 === 0 ? base + length : base - length;
      if (!this.#blocks(order).delete(buddy)) break;
      base = Math.min(base, buddy);
      order++;
    }
    this.#blocks(order).add(base);
  }

  #blocks(order: number): Set<number> {
    while (this.#free.length <= order) this.#free.push(new Set());
    return this.#free[order] ?? new Set();
  }
}

function orderOf(size: number): number {
  return size <= 1 ? 0 : 32 - Math.clz32(size - 1);
}
