import {
  kmeshCidrKeyLayout,
  kmeshConstant,
  kmeshDecisionLayout,
  kmeshFrontendLayout,
  kmeshPodBucketLayout,
  kmeshSettingsLayout,
  kmeshSlot4Layout,
} from '../../src/tables/gen/layouts.ts';
import type { EntryTable, KernelMaps, MapMemory, WholeMemory } from '../../src/tables/kernel-object.ts';

/** A hash table that remembers the order of its writes. */
export class FakeTable implements EntryTable {
  readonly entries = new Map<string, Uint8Array>();
  readonly log: string[] = [];
  readonly maxEntries: number;
  readonly #keySize: number;
  readonly #valueSize: number;

  constructor(maxEntries: number, keySize: number, valueSize: number) {
    this.maxEntries = maxEntries;
    this.#keySize = keySize;
    this.#valueSize = valueSize;
  }

  updateBatch(keys: Uint8Array, values: Uint8Array, count: number): number {
    for (let index = 0; index < count; index++) {
      const key = hex(keys.subarray(index * this.#keySize, (index + 1) * this.#keySize));
      if (!this.entries.has(key) && this.entries.size >= this.maxEntries) return index;
      this.entries.set(key, values.slice(index * this.#valueSize, (index + 1) * this.#valueSize));
      this.log.push(`set ${key}`);
    }
    return count;
  }

  deleteBatch(keys: Uint8Array, count: number): number {
    let removed = 0;
    for (let index = 0; index < count; index++) {
      const key = hex(keys.subarray(index * this.#keySize, (index + 1) * this.#keySize));
      if (this.entries.delete(key)) removed++;
      this.log.push(`delete ${key}`);
    }
    return removed;
  }
}

export interface FakeCapacities {
  /** A power of two. */
  readonly frontends?: number;
  readonly cidrFrontends?: number;
  readonly endpoints?: number;
  readonly podBuckets?: number;
}

export type FakeMaps = KernelMaps & {
  readonly cidrFrontends: FakeTable;
  readonly endpoints: MapMemory & { readonly bytes: ArrayBuffer };
  readonly frontends: WholeMemory & { readonly bytes: ArrayBuffer };
};

/** Kernel tables in plain memory. */
export function fakeMaps(capacities: FakeCapacities = {}): FakeMaps {
  const settings = new ArrayBuffer(kmeshSettingsLayout.size);
  crypto.getRandomValues(new Uint8Array(settings, kmeshSettingsLayout.hashKeys, kmeshConstant.hashKeys * 8));
  return {
    frontends: wholeMemory((capacities.frontends ?? 1024) * 2 * kmeshFrontendLayout.size),
    cidrFrontends: new FakeTable(
      capacities.cidrFrontends ?? 64,
      kmeshCidrKeyLayout.size,
      kmeshDecisionLayout.size,
    ),
    endpoints: fakeMemory((capacities.endpoints ?? 1024) * kmeshSlot4Layout.size),
    pods: new ArrayBuffer((capacities.podBuckets ?? 16) * kmeshPodBucketLayout.size),
    settings,
  };
}

function fakeMemory(byteLength: number): FakeMaps['endpoints'] {
  const bytes = new ArrayBuffer(byteLength);
  return { bytes, byteLength, piece: (offset, length) => new DataView(bytes, offset, length) };
}

function wholeMemory(byteLength: number): FakeMaps['frontends'] {
  const bytes = new ArrayBuffer(byteLength);
  return { bytes, byteLength, map: () => bytes, unmap: () => {} };
}

function hex(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString('hex');
}
