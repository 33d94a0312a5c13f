import { addon, type NativeBatchResult } from './addon.ts';
import { OwnedDescriptor } from './descriptors.ts';
import { bytesOf, checkResult, integerIn, invalidArgument, pathOf, systemCallError } from './errors.ts';

/** The kernel's `bpf_map_type` values that Kmesh uses. */
export const mapTypes = {
  hash: 1,
  array: 2,
  perCpuHash: 5,
  perCpuArray: 6,
  lruHash: 9,
  longestPrefixTrie: 11,
  arrayOfMaps: 12,
  hashOfMaps: 13,
  socketStorage: 24,
  ringBuffer: 27,
} as const;

/** Whether an update may create or replace: `bpf(2)`'s BPF_ANY, BPF_NOEXIST and BPF_EXIST. */
type UpdateMode = 'any' | 'create' | 'replace';

const updateFlags: Record<UpdateMode, number> = { any: 0, create: 1, replace: 2 };
const perCpuTypes: ReadonlySet<number> = new Set([5, 6, 10, 21]);
const mmapable = 1 << 10;
const ENOENT = 2;
const ENOSPC = 28;

/** A map's attributes as the kernel reports them. `type` is a {@link mapTypes} value; sizes are bytes. */
interface BpfMapInfo {
  readonly id: number;
  readonly name: string;
  readonly type: number;
  readonly keySize: number;
  readonly valueSize: number;
  readonly maxEntries: number;
  readonly flags: number;
}

/** Options of {@link createMap}. `flags` are the kernel's `BPF_F_…` creation flags. */
interface MapOptions {
  readonly type: number;
  readonly name: string;
  readonly keySize: number;
  readonly valueSize: number;
  readonly maxEntries: number;
  readonly flags?: number;
}

/** Keys and values of many entries, each packed without gaps: entry i is at i × size. */
interface PackedEntries {
  readonly count: number;
  readonly keys: Uint8Array;
  readonly values: Uint8Array;
}

/**
 * A BPF map, on raw bytes. Keys are exactly `keySize` bytes and values exactly `valueSize` (for per-CPU maps the
 * values of all possible CPUs, each padded to 8 bytes, behind one another).
 */
export class BpfMap implements Disposable {
  readonly info: BpfMapInfo;
  readonly keySize: number;
  /** Bytes of one value as this class reads and writes it; for per-CPU maps, the values of all CPUs. */
  readonly valueSize: number;
  readonly maxEntries: number;
  readonly #descriptor: OwnedDescriptor;
  readonly #pieces: ArrayBuffer[] = [];
  #mapping: ArrayBuffer | undefined;

  /** Takes ownership of `fd`. Use {@link openPinnedMap}, {@link createMap} or `BpfObject.map`. */
  constructor(fd: number) {
    const info = addon().mapInfo(fd);
    if (typeof info === 'number') {
      addon().closeDescriptor(fd);
      throw systemCallError(-info, 'KMESH_BPF_MAP_FAILED', `descriptor ${fd} is not a usable map`, 'bpf');
    }
    this.info = info;
    this.#descriptor = new OwnedDescriptor(fd, `map ${info.name}`);
    this.keySize = info.keySize;
    this.valueSize = perCpuTypes.has(info.type)
      ? Math.ceil(info.valueSize / 8) * 8 * addon().possibleCpus()
      : info.valueSize;
    this.maxEntries = info.maxEntries;
  }

  get name(): string {
    return this.info.name;
  }

  /** The map's descriptor, which stays owned by this object. */
  get fd(): number {
    return this.#descriptor.fd;
  }

  get closed(): boolean {
    return this.#descriptor.closed;
  }

  /**
   * Returns the value of `key`, written to `into` if given; undefined if the map has no such entry.
   *
   * @throws SystemCallError `KMESH_BPF_MAP_FAILED`
   */
  get(key: Uint8Array, into: Uint8Array = new Uint8Array(this.valueSize)): Uint8Array | undefined {
    bytesOf('key', key, this.keySize);
    bytesOf('into', into, this.valueSize);
    const result = addon().mapLookup(this.fd, key, into, 0);
    if (result === -ENOENT) return undefined;
    this.#check(result, 'read an entry of');
    return into;
  }

  /**
   * Removes the entry of `key` and returns its value, written to `into`; undefined if there was none. Hash maps only.
   * Requires Linux 5.14.
   *
   * @throws SystemCallError `KMESH_BPF_MAP_FAILED`
   */
  take(key: Uint8Array, into: Uint8Array): Uint8Array | undefined {
    bytesOf('key', key, this.keySize);
    bytesOf('into', into, this.valueSize);
    const result = addon().mapTake(this.fd, key, into);
    if (result === -ENOENT) return undefined;
    this.#check(result, 'take an entry of');
    return into;
  }

  /**
   * Writes one entry.
   *
   * @throws SystemCallError `KMESH_BPF_MAP_FAILED`; errno `E2BIG` or `ENOSPC` when the map is full, `EEXIST` and
   * `ENOENT` as `mode` says.
   */
  set(key: Uint8Array, value: Uint8Array, mode: UpdateMode = 'any'): void {
    bytesOf('key', key, this.keySize);
    bytesOf('value', value, this.valueSize);
    this.#check(addon().mapUpdate(this.fd, key, value, updateFlags[mode]), 'write an entry of');
  }

  /** Removes one entry; returns false if there was none. @throws SystemCallError `KMESH_BPF_MAP_FAILED` */
  delete(key: Uint8Array): boolean {
    bytesOf('key', key, this.keySize);
    const result = addon().mapDelete(this.fd, key);
    if (result === -ENOENT) return false;
    this.#check(result, 'delete an entry of');
    return true;
  }

  /**
   * Writes `count` packed entries with as few system calls as the kernel allows and returns the number written. Fewer
   * than `count` means that the map is full: the rest was not written.
   *
   * @throws SystemCallError `KMESH_BPF_MAP_FAILED` for every other failure.
   */
  updateBatch(keys: Uint8Array, values: Uint8Array, count: number, mode: UpdateMode = 'any'): number {
    integerIn('count', count, 0, 0xffff_ffff);
    bytesOf('keys', keys, count * this.keySize, true);
    bytesOf('values', values, count * this.valueSize, true);
    const { fd, keySize, valueSize } = this;
    const result = addon().mapUpdateBatch(fd, keys, values, count, keySize, valueSize, updateFlags[mode]);
    if (result.errno === ENOSPC || result.errno === 7) return result.count;
    this.#check(-result.errno, `write entry ${result.count} of a batch to`);
    return result.count;
  }

  /** Removes `count` packed keys, skipping those without an entry. Returns the number removed. */
  deleteBatch(keys: Uint8Array, count: number): number {
    integerIn('count', count, 0, 0xffff_ffff);
    bytesOf('keys', keys, count * this.keySize, true);
    const result = addon().mapDeleteBatch(this.fd, keys, count, this.keySize);
    this.#check(-result.errno, 'delete a batch from');
    return result.count;
  }

  /**
   * Iterates over all entries in packed chunks of about `chunk`. Entries written or removed meanwhile may be missed.
   * Each chunk reuses the arrays of the one before.
   */
  *lookupBatch(chunk = 4096): Generator<PackedEntries, void, undefined> {
    integerIn('chunk', chunk, 1, 1 << 24);
    const cursorSize = Math.max(this.keySize, 4);
    let cursor: Uint8Array | undefined;
    let spare = new Uint8Array(cursorSize);
    let capacity = Math.min(chunk, Math.max(this.maxEntries, 1));
    let keys = new Uint8Array(capacity * this.keySize);
    let values = new Uint8Array(capacity * this.valueSize);
    for (;;) {
      const result: NativeBatchResult = addon().mapReadBatch(
        this.fd,
        cursor,
        spare,
        keys,
        values,
        capacity,
        this.keySize,
        this.valueSize,
      );
      // A hash bucket has more entries than the buffers: grow them and read the same position again.
      if (result.errno === ENOSPC && result.count === 0) {
        capacity *= 2;
        keys = new Uint8Array(capacity * this.keySize);
        values = new Uint8Array(capacity * this.valueSize);
        continue;
      }
      if (result.errno !== 0 && result.errno !== ENOENT) this.#check(-result.errno, 'iterate');
      if (result.count > 0) yield { count: result.count, keys, values };
      if (result.errno === ENOENT) return;
      const next: Uint8Array<ArrayBuffer> = spare;
      spare = new Uint8Array(cursorSize);
      cursor = next;
    }
  }

  /** Iterates over single entries, each a copy; see {@link lookupBatch} for the fast form. */
  *entries(): Generator<[key: Uint8Array, value: Uint8Array], void, undefined> {
    for (const { count, keys, values } of this.lookupBatch()) {
      for (let index = 0; index < count; index += 1) {
        yield [
          keys.slice(index * this.keySize, (index + 1) * this.keySize),
          values.slice(index * this.valueSize, (index + 1) * this.valueSize),
        ];
      }
    }
  }

  /**
   * Maps a `BPF_F_MMAPABLE` array into memory shared with the programs: entry i is at i × `valueSize` rounded up to 8.
   * Aligned 64-bit stores are atomic. {@link close} detaches the buffer.
   *
   * @throws KmeshError `KMESH_INVALID_ARGUMENT` when the map is not mmap-able, `KMESH_BPF_MAP_FAILED` when mmap fails.
   */
  mmap(): ArrayBuffer {
    this.#mapping ??= this.#map(0, this.mappableBytes);
    return this.#mapping;
  }

  /**
   * Maps a part of the array. Every mapped page counts as memory of this process even if it is not used, so a reader of
   * a few pages should map only those. Pieces may overlap; {@link close} detaches them.
   *
   * @param offset bytes, a multiple of the page size
   * @throws as {@link mmap}
   */
  mmapPiece(offset: number, length: number): ArrayBuffer {
    integerIn('offset', offset, 0, this.mappableBytes);
    const piece = this.#map(offset, integerIn('length', length, 1, this.mappableBytes - offset));
    this.#pieces.push(piece);
    return piece;
  }

  /**
   * Unmaps the memory of {@link mmap} and detaches its buffer; the next {@link mmap} maps it again, in about 30 µs per
   * MB.
   */
  unmap(): void {
    if (this.#mapping !== undefined) addon().mapUnmap(this.#mapping);
    this.#mapping = undefined;
  }

  /** Size of an mmap-able array in bytes. */
  get mappableBytes(): number {
    return Math.ceil(this.info.valueSize / 8) * 8 * this.maxEntries;
  }

  #map(offset: number, length: number): ArrayBuffer {
    if (this.info.type !== mapTypes.array || (this.info.flags & mmapable) === 0) {
      throw invalidArgument(`map ${this.name}`, `of type ${this.info.type}`, 'an array with BPF_F_MMAPABLE');
    }
    const mapping = addon().mapMmap(this.fd, length, offset);
    if (typeof mapping === 'number') {
      throw systemCallError(-mapping, 'KMESH_BPF_MAP_FAILED', `cannot map ${this.name} into memory`, 'mmap');
    }
    return mapping;
  }

  /**
   * Pins the map at `path` on bpffs, so that it outlives the process. @throws SystemCallError `KMESH_BPF_PIN_FAILED`
   */
  pin(path: string): void {
    const result = addon().pin(this.fd, pathOf('path', path));
    checkResult(result, 'KMESH_BPF_PIN_FAILED', `cannot pin map ${this.name} at ${path}`, 'bpf');
  }

  /** Closes the descriptor and unmaps the memory. Pins and programs keep the map alive. */
  close(): void {
    this.unmap();
    for (const piece of this.#pieces.splice(0)) addon().mapUnmap(piece);
    this.#descriptor.close();
  }

  [Symbol.dispose](): void {
    this.close();
  }

  #check(result: number, action: string): void {
    if (result >= 0) return;
    throw systemCallError(-result, 'KMESH_BPF_MAP_FAILED', `cannot ${action} map ${this.name}`, 'bpf');
  }
}

/** Opens the map that is pinned at `path`. @throws SystemCallError `KMESH_BPF_PIN_FAILED` */
export function openPinnedMap(path: string): BpfMap {
  const fd = addon().openPinned(pathOf('path', path));
  return new BpfMap(checkResult(fd, 'KMESH_BPF_PIN_FAILED', `cannot open the map pinned at ${path}`, 'bpf'));
}

/** Creates a map without an object. @throws SystemCallError `KMESH_BPF_MAP_FAILED` */
export function createMap(options: MapOptions): BpfMap {
  const { type, name, keySize, valueSize, maxEntries } = options;
  integerIn('maxEntries', maxEntries, 0, 0xffff_ffff);
  const fd = addon().mapCreate(type, name, keySize, valueSize, maxEntries, options.flags ?? 0);
  return new BpfMap(checkResult(fd, 'KMESH_BPF_MAP_FAILED', `cannot create map ${name}`, 'bpf'));
}

/**
 * Waits for an RCU grace period: resolves when every BPF program that ran at the time of the call has ended, so that
 * memory that only those could read may be reused. Takes tens of milliseconds; does not block the event loop.
 *
 * Uses `membarrier(MEMBARRIER_CMD_GLOBAL)`; if the kernel refuses it (`nohz_full`), an update of a map-in-map, which
 * waits for the same grace period.
 *
 * @throws SystemCallError `KMESH_BARRIER_FAILED`
 */
export async function kernelBarrier(): Promise<void> {
  const result = await addon().kernelBarrier();
  if (result < 0) {
    throw systemCallError(-result, 'KMESH_BARRIER_FAILED', 'cannot wait for running programs', 'membarrier');
  }
}
