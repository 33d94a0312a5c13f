import { writeAddress } from './address-bytes.ts';
import { kmeshOwnerFlag, kmeshOwnerLayout as layout } from './gen/layouts.ts';
import type { EntryTable } from './kernel-maps.ts';

const ADDRESS_BYTES = 16;

/** Where the wire meets a pod's interface (design §4). */
export interface WireEnd {
  /** Index of the node's side. */
  readonly nodeInterface: number;
  /** Of the pod's side. */
  readonly mac: Uint8Array;
  /** Packets may go straight into the pod: no other software owns the hook. */
  readonly delivered: boolean;
}

/** The pod that has an address. */
interface AddressOwner {
  readonly workloadId: number;
  /** 0: not certain. */
  readonly identityId: number;
  /** By address; an address without one takes the tunnel path. */
  readonly wire: ReadonlyMap<string, WireEnd>;
}

/** The `pod_addresses` hash: which addresses are an enrolled pod's own. One that does not fit counts as no pod's. */
export class PodAddressTable {
  readonly #map: EntryTable;
  readonly #withdrawn: () => void;
  readonly #entries = new Map<string, { readonly cookie: bigint; readonly value: Uint8Array }>();

  /** @param withdrawn called after what was known of an address was taken back or changed */
  constructor(map: EntryTable, withdrawn: () => void) {
    this.#map = map;
    this.#withdrawn = withdrawn;
  }

  /** Replaces the addresses of a pod. An address that another pod had is this one's from now on. */
  set(cookie: bigint, addresses: readonly string[], owner: AddressOwner): void {
    let changed = false;
    for (const [address, entry] of this.#entries) {
      if (entry.cookie === cookie && !addresses.includes(address)) changed = this.#remove(address);
    }
    for (const address of addresses) {
      const value = encode(cookie, owner, owner.wire.get(address));
      const present = this.#entries.get(address);
      if (present !== undefined && Buffer.compare(present.value, value) === 0) continue;
      changed ||= present !== undefined;
      if (this.#map.updateBatch(keyOf(address), value, 1) === 1)
        this.#entries.set(address, { cookie, value });
    }
    if (changed) this.#withdrawn();
  }

  /** The pod is not enrolled any more. */
  delete(cookie: bigint): void {
    let changed = false;
    for (const [address, entry] of this.#entries)
      if (entry.cookie === cookie) changed = this.#remove(address);
    if (changed) this.#withdrawn();
  }

  #remove(address: string): true {
    this.#map.deleteBatch(keyOf(address), 1);
    this.#entries.delete(address);
    return true;
  }
}

function encode(cookie: bigint, owner: AddressOwner, wire: WireEnd | undefined): Uint8Array {
  const bytes = new Uint8Array(layout.size);
  const value = new DataView(bytes.buffer);
  value.setBigUint64(layout.netnsCookie, cookie, true);
  value.setUint32(layout.workload, owner.workloadId, true);
  value.setUint32(layout.identity, owner.identityId, true);
  if (wire === undefined) return bytes;
  value.setUint32(layout.interface, wire.nodeInterface, true);
  value.setUint16(layout.flags, wire.delivered ? kmeshOwnerFlag.delivered : 0, true);
  bytes.set(wire.mac, layout.mac);
  return bytes;
}

function keyOf(address: string): Uint8Array {
  const key = new Uint8Array(ADDRESS_BYTES);
  writeAddress(new DataView(key.buffer), 0, address);
  return key;
}
