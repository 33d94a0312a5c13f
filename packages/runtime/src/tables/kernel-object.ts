import { randomBytes } from 'node:crypto';
import { KmeshError } from '@kmesh/api';
import {
  type BpfMap,
  type BpfObject,
  type Capability,
  type CapabilityName,
  capability,
  type Link,
  openBpfObject,
  probeCapabilities,
  programFile,
} from '@kmesh/linux';
import { kmeshConstant, kmeshSettingsLayout } from './gen/layouts.ts';

/** The programs of kmesh.bpf.o by their C names, in order of attachment. */
export const kernelPrograms = [
  // Before the connect programs, which hand their decisions over to it.
  'kmesh_sockops',
  'kmesh_peer4',
  'kmesh_peer6',
  'kmesh_connect4',
  'kmesh_connect6',
] as const;

export type KernelProgram = (typeof kernelPrograms)[number];

/** Capabilities the programs cannot do without; all others have a substitute. */
const required: ReadonlySet<CapabilityName> = new Set([
  'bpf',
  'cgroup-mount',
  'btf',
  'cgroup-connect',
  'cgroup-getpeername',
  'cgroup-link',
  'netns-cookie-connect',
  'netns-cookie-sockops',
  'socket-storage-connect',
  'socket-storage-sockops',
  'sockops',
  'ring-buffer',
  'mmap-array',
  'network-namespaces',
]);

/** Returns a phrase for each feature that the kernel path needs and this machine lacks; empty when it can run. */
export function kernelPathObstacles(capabilities: readonly Capability[] = probeCapabilities()): string[] {
  return capabilities
    .filter(({ name, available }) => required.has(name) && !available)
    .map(
      ({ description, requiredKernel, reason }) =>
        `${description} (Linux ${requiredKernel} has it): ${reason}`,
    );
}

/** Sizes of the kernel tables; defaults are in kmesh_config.h. */
export interface KernelCapacities {
  /** Rounded up to a power of two; the table has twice as many slots. */
  readonly frontends?: number;
  readonly cidr_frontends?: number;
  /** Slots for IPv4 endpoints; an IPv6 endpoint takes two. */
  readonly endpoints?: number;
  /** Blocks of 16 flows that are reported while they last. */
  readonly live?: number;
  /** Bytes of the event ring: a power of two, at least a page. */
  readonly events?: number;
}

/** Options of {@link loadKernelObject}. */
interface KernelObjectOptions {
  /** Path of the object, as returned by {@link programFile}. */
  readonly path: string;
  readonly capacities?: KernelCapacities;
  /** Edits the object before it is loaded, for example to share maps. */
  readonly prepare?: (object: BpfObject) => void;
  /** Requests the verifier's statistics on each program. */
  readonly verifierStatistics?: boolean;
}

/**
 * Loads the BPF programs without attaching them.
 *
 * @throws BpfLoadError `KMESH_BPF_LOAD_FAILED` with the verifier's summary, `KMESH_BPF_OPEN_FAILED`
 * @throws KmeshError `KMESH_BPF_OBJECT_MISSING` when the file cannot be read.
 */
export async function loadKernelObject(options: KernelObjectOptions): Promise<BpfObject> {
  const object = openBpfObject(await readObject(options.path), 'kmesh');
  try {
    const { frontends, endpoints, ...capacities } = options.capacities ?? {};
    if (endpoints !== undefined) object.setMaxEntries('endpoints', Math.ceil(endpoints / 2));
    for (const [map, entries] of Object.entries(capacities)) object.setMaxEntries(map, entries);
    const hashKeys = prepareFrontends(object, frontends);
    object.setAutoload('kmesh_live', capability('kernel-reads').available);
    object.setConstant('kmesh_has_set_retval', capability('set-retval').available);
    options.prepare?.(object);
    await object.load({ verifierStatistics: options.verifierStatistics ?? false });
    new Uint8Array(object.map('settings').mmap(), kmeshSettingsLayout.hashKeys).set(hashKeys);
    return object;
  } catch (error) {
    object.close();
    throw error;
  }
}

/** Call before load: sets the size of the table; returns the secret keys of its hash. */
function prepareFrontends(object: BpfObject, capacity: number | undefined): Uint8Array {
  if (capacity !== undefined) {
    const entries = 2 ** Math.ceil(Math.log2(Math.max(capacity, 1)) + 1);
    object.setMaxEntries('frontends', entries);
    object.setConstant('kmesh_frontend_mask', entries - 1);
  }
  const hashKeys = new Uint8Array(randomBytes(kmeshConstant.hashKeys * 8));
  object.setConstant('kmesh_hash_keys', hashKeys);
  object.setConstant('kmesh_weakly_ordered', process.arch !== 'x64');
  return hashKeys;
}

/**
 * Attaches programs of a loaded object to a cgroup, alongside other software's. The caller closes or pins the links.
 */
export function attachKernelObject(
  object: BpfObject,
  cgroup: string,
  programs: readonly KernelProgram[] = kernelPrograms,
): Map<KernelProgram, Link> {
  const links = new Map<KernelProgram, Link>();
  try {
    for (const name of programs) links.set(name, object.program(name).attachCgroup(cgroup));
    return links;
  } catch (error) {
    for (const link of links.values()) link.close();
    throw error;
  }
}

async function readObject(path: string): Promise<Uint8Array> {
  try {
    return programFile(path);
  } catch (cause) {
    const message = `cannot read the BPF object ${path}; build it with: bash scripts/build-bpf.sh`;
    throw new KmeshError('KMESH_BPF_OBJECT_MISSING', message, { cause });
  }
}

/** A hash or trie of fixed-size entries; satisfied by `BpfMap`, and by test doubles. */
export interface EntryTable {
  readonly maxEntries: number;
  /** Returns the number of entries written; fewer than `count` means that the table is full. */
  updateBatch(keys: Uint8Array, values: Uint8Array, count: number): number;
  deleteBatch(keys: Uint8Array, count: number): number;
}

/** The memory of a large, sparsely used array: mapped pieces count as memory of this process. */
export interface MapMemory {
  readonly byteLength: number;
  /** Maps `length` bytes from `offset`, a multiple of the page size, permanently. Call it once for each piece. */
  piece(offset: number, length: number): DataView;
}

/** The memory of a large array with scattered but rare writes: mapped only while in use. */
export interface WholeMemory {
  readonly byteLength: number;
  /** Maps the array, unless it is mapped. */
  map(): ArrayBuffer;
  /** Detaches the buffer of {@link WholeMemory.map}. */
  unmap(): void;
}

/** The kernel tables that the compiler writes. Arrays are the mapped memory of mmap-able maps. */
export interface KernelMaps {
  /** Holds a power of two of entries. */
  readonly frontends: WholeMemory;
  readonly cidrFrontends: EntryTable;
  readonly endpoints: MapMemory;
  readonly pods: ArrayBuffer;
  /** Holds the hash keys of `frontends`. */
  readonly settings: ArrayBuffer;
  /** Lease and generation. Absent in tests that need neither. */
  readonly lease?: ArrayBuffer;
  /** Absent if nothing needs to know the pods' own addresses. */
  readonly podAddresses?: EntryTable;
  /** Absent if every connection to a pod of this node takes the tunnel path. */
  readonly verdicts?: EntryTable;
  /** Ports that the node's network blocks; written by the programs. */
  readonly unreachable?: { get(key: Uint8Array): Uint8Array | undefined };
}

/** Returns the tables of a loaded BPF object. */
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

/** Tries have batch operations only since Linux 5.19; they are small, so entries are written one by one. */
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
