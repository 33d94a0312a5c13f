import { writeAddress } from './address-bytes.ts';
import type { EntryTable } from './kernel-maps.ts';

const ADDRESS_BYTES = 16;

/** The `pod_addresses` hash: which addresses are an enrolled pod's own. One that does not fit counts as no pod's. */
export class PodAddressTable {
  readonly #map: EntryTable;
  readonly #owners = new Map<string, bigint>();

  constructor(map: EntryTable) {
    this.#map = map;
  }

  /** Replaces the addresses of a pod. An address that another pod had is this one's from now on. */
  set(cookie: bigint, addresses: readonly string[]): void {
    for (const [address, owner] of this.#owners) {
      if (owner === cookie && !addresses.includes(address)) this.#remove(address);
    }
    const value = new Uint8Array(8);
    new DataView(value.buffer).setBigUint64(0, cookie, true);
    for (const address of addresses) {
      if (this.#owners.get(address) === cookie) continue;
      if (this.#map.updateBatch(keyOf(address), value, 1) === 1) this.#owners.set(address, cookie);
    }
  }

  /** The pod is not enrolled any more. */
  delete(cookie: bigint): void {
    for (const [address, owner] of this.#owners) if (owner === cookie) this.#remove(address);
  }

  #remove(address: string): void {
    this.#map.deleteBatch(keyOf(address), 1);
    this.#owners.delete(address);
  }
}

function keyOf(address: string): Uint8Array {
  const key = new Uint8Array(ADDRESS_BYTES);
  writeAddress(new DataView(key.buffer), 0, address);
  return key;
}
