import { randomBytes } from 'node:crypto';
import { KmeshError } from '@kmesh/api';
import {
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

/** Before load: the size of the table, and the keys of its hash, which nobody can know. */
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
