import { kmeshServicePortLayout as layout } from './gen/layouts.ts';
import { IndexPool } from './index-pool.ts';
import type { SlotRange } from './range-allocator.ts';
import { RefusalCounter, type TableUsage } from './usage.ts';

/** The `service_ports` array: an index per service port, its range per family flipped by one 64-bit store. */
export class ServicePortArray {
  readonly #ranges: BigUint64Array<ArrayBuffer>;
  readonly #indexes: IndexPool;
  readonly #refused = new RefusalCounter();

  constructor(memory: ArrayBuffer) {
    this.#ranges = new BigUint64Array(memory);
    // Index 0 stays unused: a frontend's target of 0 is no service port.
    this.#indexes = new IndexPool(Math.floor(memory.byteLength / layout.size), 1);
  }

  /** An index whose ranges are empty, or undefined (counted) when there is none. */
  allocate(): number | undefined {
    const index = this.#indexes.allocate();
    if (index === undefined) {
      this.#refused.count('table-full');
      return undefined;
    }
    this.flip(index, 4, undefined);
    this.flip(index, 6, undefined);
    return index;
  }

  /** Makes every connect from now on draw from `range`; undefined refuses. */
  flip(index: number, family: 4 | 6, range: SlotRange | undefined): void {
    const offset = index * layout.size + (family === 4 ? layout.range4 : layout.range6);
    const value = range === undefined ? 0n : (BigInt(range.size) << 32n) | BigInt(range.base);
    Atomics.store(this.#ranges, offset / 8, value);
  }

  /** Gives an index back; only after a barrier. */
  free(index: number): void {
    this.flip(index, 4, undefined);
    this.flip(index, 6, undefined);
    this.#indexes.free(index);
  }

  usage(): TableUsage {
    return {
      table: 'service_ports',
      used: this.#indexes.used,
      capacity: this.#indexes.capacity - 1,
      refused: this.#refused.counts,
    };
  }
}
