import type { TableUsage } from '@kmesh/api';
import { writeAddress } from './address-bytes.ts';
import { RefusalCounter } from './counters.ts';
import {
  kmeshPodBucketLayout as bucketLayout,
  kmeshConstant,
  kmeshOwnerFlag,
  kmeshPodFlag,
  kmeshOwnerLayout as layout,
  kmeshPodLayout as podLayout,
} from './gen/layouts.ts';
import type { EntryTable } from './kernel-object.ts';

/** An enrolled pod as the programs see it. */
interface PodEntry {
  readonly workloadId: number;
  readonly namespaceId: number;
  readonly identityId?: number;
  /** Enrolled by the CNI agent: its namespace should have istio-cni's redirect rules. */
  readonly captured: boolean;
  /** The rules were not found: connections that cannot be handed over to the pod's proxy are refused. */
  readonly bare?: boolean;
}

/** The `pods` array: buckets of four, chosen by the lower bits of the network-namespace cookie. */
export class PodTable {
  readonly #view: DataView;
  readonly #cookies: BigUint64Array<ArrayBuffer>;
  readonly #buckets: number;
  readonly #places = new Map<bigint, number>();
  readonly #refused = new RefusalCounter();

  constructor(memory: ArrayBuffer) {
    this.#view = new DataView(memory);
    this.#cookies = new BigUint64Array(memory);
    this.#buckets = Math.floor(memory.byteLength / bucketLayout.size);
  }

  /** Enrols or updates a pod. Returns false (counted) when its bucket is full. */
  set(cookie: bigint, pod: PodEntry): boolean {
    const place = this.#places.get(cookie) ?? this.#freePlace(cookie);
    if (place === undefined) {
      this.#refused.count('bucket-full');
      return false;
    }
    const { bucket, way } = split(place);
    const offset = bucket * bucketLayout.size + bucketLayout.pods + way * podLayout.size;
    this.#view.setUint32(offset + podLayout.workload, pod.workloadId, true);
    this.#view.setUint32(offset + podLayout.namespaceId, pod.namespaceId, true);
    this.#view.setUint32(offset + podLayout.identity, pod.identityId ?? 0, true);
    const flags = (pod.captured ? kmeshPodFlag.captured : 0) | (pod.bare === true ? kmeshPodFlag.bare : 0);
    this.#view.setUint32(offset + podLayout.flags, flags, true);
    // The cookie last: programs find the entry only by it.
    Atomics.store(this.#cookies, cookieIndex(bucket, way), cookie);
    this.#places.set(cookie, place);
    return true;
  }

  /** Counts a pod that the tables cannot serve. */
  refuse(reason: 'other-locality'): void {
    this.#refused.count(reason);
  }

  has(cookie: bigint): boolean {
    return this.#places.has(cookie);
  }

  /** Returns the identity by which a pod's connects are judged; 0: none that is certain. */
  identityOf(cookie: bigint): number {
    const place = this.#places.get(cookie);
    if (place === undefined) return 0;
    const { bucket, way } = split(place);
    const offset = bucket * bucketLayout.size + bucketLayout.pods + way * podLayout.size;
    return this.#view.getUint32(offset + podLayout.identity, true);
  }

  /** Unenrols the pod from this instant on. */
  delete(cookie: bigint): boolean {
    const place = this.#places.get(cookie);
    if (place === undefined) return false;
    const { bucket, way } = split(place);
    Atomics.store(this.#cookies, cookieIndex(bucket, way), 0n);
    this.#places.delete(cookie);
    return true;
  }

  usage(): TableUsage {
    return {
      table: 'pods',
      used: this.#places.size,
      capacity: this.#buckets * kmeshConstant.podWays,
      refused: this.#refused.counts,
    };
  }

  #freePlace(cookie: bigint): number | undefined {
    const bucket = Number(cookie % BigInt(this.#buckets));
    for (let way = 0; way < kmeshConstant.podWays; way++) {
      if (Atomics.load(this.#cookies, cookieIndex(bucket, way)) === 0n)
        return bucket * kmeshConstant.podWays + way;
    }
    return undefined;
  }
}

function split(place: number): { bucket: number; way: number } {
  const way = place % kmeshConstant.podWays;
  return { bucket: (place - way) / kmeshConstant.podWays, way };
}

function cookieIndex(bucket: number, way: number): number {
  return (bucket * bucketLayout.size + bucketLayout.cookies) / 8 + way;
}

const ADDRESS_BYTES = 16;

/** Where the wire is attached for a pod (bpf/README.md, "The wire"). */
export interface WireEnd {
  /** Interface index of the node's side. */
  readonly nodeInterface: number;
  /** MAC address of the pod's side. */
  readonly mac: Uint8Array;
  /** Packets may be delivered directly into the pod: no other software has a program at the hook. */
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

/** The `pod_addresses` hash: own addresses of enrolled pods. One that does not fit counts as no pod's. */
export class PodAddressTable {
  readonly #map: EntryTable;
  readonly #withdrawn: () => void;
  readonly #entries = new Map<string, { readonly cookie: bigint; readonly value: Uint8Array }>();

  /** @param withdrawn called after the entry of an address was removed or changed */
  constructor(map: EntryTable, withdrawn: () => void) {
    this.#map = map;
    this.#withdrawn = withdrawn;
  }

  /** Replaces the addresses of a pod, taking over an address that another pod had. */
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

  /** Removes the addresses of a pod that is no longer enrolled. */
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
