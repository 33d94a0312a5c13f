import type { BpfMap, BpfObject } from '@kmesh/linux';

/** A hash or trie of fixed-size entries; `BpfMap` is one, tests bring their own. */
export interface EntryTable {
  readonly maxEntries: number;
  /** Entries written; fewer than `count` means that the table is full. */
  updateBatch(keys: Uint8Array, values: Uint8Array, count: number): number;
  deleteBatch(keys: Uint8Array, count: number): number;
}

/** The memory of a large array of which little may be in use: what is mapped counts as memory of this process. */
export interface MapMemory {
  readonly byteLength: number;
  /** `length` bytes from `offset`, a multiple of the page size, for good. To be asked once for each piece. */
  piece(offset: number, length: number): DataView;
}

/** The memory of a large array that is used all over, and seldom: mapped while it is used. */
export interface WholeMemory {
  readonly byteLength: number;
  /** Maps the array, unless it is mapped. */
  map(): ArrayBuffer;
  /** Detaches the buffer of {@link WholeMemory.map}. */
  unmap(): void;
}

/** The kernel tables that the compiler writes. Arrays are the mapped memory of mmap-able maps. */
export interface KernelMaps {
  /** A power of two of entries. */
  readonly frontends: WholeMemory;
  readonly cidrFrontends: EntryTable;
  readonly endpoints: MapMemory;
  readonly pods: ArrayBuffer;
  /** Holds the hash keys of `frontends`. */
  readonly settings: ArrayBuffer;
  /** How long the programs may decide, and by what. Absent: nobody asks. */
  readonly lease?: ArrayBuffer;
  /** Absent where nothing needs to know which addresses are a pod's own. */
  readonly podAddresses?: EntryTable;
  /** Absent where every connection to a pod of this node asks. */
  readonly verdicts?: EntryTable;
  /** Ports that the node's network does not let through; the programs write it. */
  readonly unreachable?: { get(key: Uint8Array): Uint8Array | undefined };
}

/** The tables of a loaded BPF object. */
export function kernelMapsOf(object: Pick<BpfObject, 'map'>): KernelMaps {
  const trie = object.map('cidr_frontends');
  return {
    frontends: whole(object.map('frontends')),
    cidrFrontends: entryByEntry(trie),
    endpoints: pieceByPiece(object.map('endpoints')),
    pods: object.map('pods').mmap(),
    settings: object.map('settings').mmap(),
    lease: object.map('lease').mmap(),
    verdicts: entryByEntry(object.map('verdicts')),
    podAddresses: entryByEntry(object.map('pod_addresses')),
    unreachable: object.map('unreachable'),
  };
}

function whole(map: BpfMap): WholeMemory {
  return { byteLength: map.mappableBytes, map: () => map.mmap(), unmap: () => map.unmap() };
}

function pieceByPiece(map: BpfMap): MapMemory {
  return {
    byteLength: map.mappableBytes,
    piece: (offset, length) => new DataView(map.mmapPiece(offset, length)),
  };
}

/** Tries have batch operations only since Linux 5.19; they are small, so entries go one by one. */
function entryByEntry(map: BpfMap): EntryTable {
  return {
    maxEntries: map.maxEntries,
    updateBatch(keys, values, count) {
      for (let index = 0; index < count; index++) {
        const key = keys.subarray(index * map.keySize, (index + 1) * map.keySize);
        map.set(key, values.subarray(index * map.valueSize, (index + 1) * map.valueSize));
      }
      return count;
    },
    deleteBatch(keys, count) {
      let removed = 0;
      for (let index = 0; index < count; index++) {
        if (map.delete(keys.subarray(index * map.keySize, (index + 1) * map.keySize))) removed++;
      }
      return removed;
    },
  };
}
