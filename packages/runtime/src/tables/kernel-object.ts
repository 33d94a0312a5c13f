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

/** The programs of kmesh.bpf.o by their C names, in the order in which they are attached. */
export const kernelPrograms = [
  // Before the connect programs: they hand their decisions over to it.
  'kmesh_sockops',
  'kmesh_peer4',
  'kmesh_peer6',
  'kmesh_connect4',
  'kmesh_connect6',
] as const;

export type KernelProgram = (typeof kernelPrograms)[number];

/** What the programs cannot do without; everything else has a substitute. */
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

/** Sizes of the kernel tables; absent ones keep the defaults of kmesh_config.h. */
export interface KernelCapacities {
  /** Rounded up to a power of two; the table has twice as many places. */
  readonly frontends?: number;
  readonly cidr_frontends?: number;
  /** Slots for IPv4 endpoints; one for an IPv6 endpoint takes the place of two. */
  readonly endpoints?: number;
  /** Blocks of 16 flows that are reported while they last. */
  readonly live?: number;
  /** Bytes of the event ring: a power of two, at least a page. */
  readonly events?: number;
}

/** What {@link loadKernelObject} needs to know. */
interface KernelObjectOptions {
  /** The object as {@link programFile} finds it. */
  readonly path: string;
  readonly capacities?: KernelCapacities;
  /** Edits the object before it is loaded, such as letting it share maps. */
  readonly prepare?: (object: BpfObject) => void;
  /** Asks the verifier what it spent on each program. */
  readonly verifierStatistics?: boolean;
}

/**
 * Loads the BPF programs; nothing is attached yet.
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

/** Before load: the size of the table, and the keys of its hash, which are secret. */
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

/** Attaches programs of a loaded object to a cgroup, beside other software's. The caller closes or pins the links. */
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
  /** Lease and generation. Absent in tests that need neither. */
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
