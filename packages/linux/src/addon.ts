import { existsSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { isSea } from 'node:sea';
import { fileURLToPath } from 'node:url';
import { KmeshError } from '@kmesh/api';
import { loadCarriedAddon } from './program-files.ts';

/** An opaque native object; freed by its close function, by the garbage collector, or with the thread. */
export interface NativeHandle {
  readonly native: unique symbol;
}

/** A map of an object; `fd` is -1 before loading. */
interface NativeMapEntry {
  name: string;
  fd: number;
}

/** A program of an object. `type` and `attachType` are the kernel's `bpf_prog_type` and `bpf_attach_type`. */
interface NativeProgramEntry {
  name: string;
  section: string;
  type: number;
  attachType: number;
  fd: number;
  /** The verifier's statistics, if requested. */
  log?: string;
}

interface NativeLoadResult {
  errno: number;
  program: string;
  log: string;
  maps: NativeMapEntry[];
  programs: NativeProgramEntry[];
}

interface NativeMapDefinition {
  type: number;
  keySize: number;
  valueSize: number;
  maxEntries: number;
  flags: number;
}

interface NativeMapInfo extends NativeMapDefinition {
  id: number;
  name: string;
}

interface NativeProgramInfo {
  id: number;
  type: number;
  name: string;
  runTimeNs: bigint;
  runCount: bigint;
  verifiedInstructions: number;
  translatedBytes: number;
  machineCodeBytes: number;
}

interface NativeInterface {
  index: number;
  name: string;
  kind: string;
  mac: Uint8Array;
  addresses: string[];
  peer: number;
}

interface NativeLinkInfo {
  id: number;
  type: number;
  programId: number;
  interfaceIndex?: number;
}

export interface NativeBatchResult {
  /** Entries processed. */
  count: number;
  /** 0, or the errno that ended the batch. */
  errno: number;
}

export interface NativeSocketAddress {
  address: string;
  port: number;
  family: 4 | 6;
}

/** Offsets in a record of `tcpSockets`, in bytes. */
export interface NativeTcpSocketLayout {
  size: number;
  cookie: number;
  bytesAcked: number;
  bytesReceived: number;
  local: number;
  remote: number;
  localPort: number;
  remotePort: number;
  state: number;
  receiveQueue: number;
  mark: number;
  inode: number;
}

/**
 * Exports of the addon. A returned number is a result if ≥ 0, else a negated errno. The addon only asserts its
 * arguments; callers in this package validate them.
 */
interface NativeAddon {
  closeDescriptor(fd: number): number;
  duplicateDescriptor(fd: number): number;
  ownDescriptor(fd: number): void;
  disownDescriptor(fd: number): void;
  raiseDescriptorLimit(wanted: number): number;

  objectOpen(bytes: Uint8Array, name: string): NativeHandle | { errno: number; log: string };
  objectPrograms(object: NativeHandle): NativeProgramEntry[];
  objectMapNames(object: NativeHandle): string[];
  objectSetConstant(object: NativeHandle, name: string, bytes: Uint8Array): number;
  objectConstantSize(object: NativeHandle, name: string): number;
  objectSetMaxEntries(object: NativeHandle, map: string, count: number): number;
  objectMapDefinition(object: NativeHandle, map: string): NativeMapDefinition | number;
  objectReuseMap(object: NativeHandle, map: string, fd: number): number;
  objectSetAutoload(object: NativeHandle, program: string, load: boolean): number;
  objectLoad(object: NativeHandle, statistics: boolean): Promise<NativeLoadResult>;
  objectClose(object: NativeHandle): void;

  pin(fd: number, path: string): number;
  openPinned(path: string): number;
  mapCreate(
    type: number,
    name: string,
    keySize: number,
    valueSize: number,
    maxEntries: number,
    flags: number,
  ): number;
  mapInfo(fd: number): NativeMapInfo | number;
  mapLookup(fd: number, key: Uint8Array, value: Uint8Array, flags: number): number;
  mapUpdate(fd: number, key: Uint8Array, value: Uint8Array, flags: number): number;
  mapDelete(fd: number, key: Uint8Array): number;
  mapTake(fd: number, key: Uint8Array, value: Uint8Array): number;
  mapUpdateBatch(
    fd: number,
    keys: Uint8Array,
    values: Uint8Array,
    count: number,
    keySize: number,
    valueSize: number,
    flags: number,
  ): NativeBatchResult;
  mapDeleteBatch(fd: number, keys: Uint8Array, count: number, keySize: number): NativeBatchResult;
  mapReadBatch(
    fd: number,
    cursor: Uint8Array | undefined,
    nextCursor: Uint8Array,
    keys: Uint8Array,
    values: Uint8Array,
    count: number,
    keySize: number,
    valueSize: number,
  ): NativeBatchResult;
  mapMmap(fd: number, length: number, offset: number): ArrayBuffer | number;
  mapUnmap(buffer: ArrayBuffer): number;
  possibleCpus(): number;

  linkCreate(program: number, target: number, attachType: number, namespace: number): number;
  linkUpdate(link: number, program: number): number;
  linkDetach(link: number): number;
  linkInfo(link: number): NativeLinkInfo | number;
  programInfo(program: number): NativeProgramInfo | number;
  programCode(program: number): { instructions: Uint8Array; functions: Uint32Array } | number;
  programQuery(target: number, attachType: number, namespace: number): number[] | number;
  interfaceLinks(interfaceIndex: number, attachType: number, namespace: number): number[] | number;
  programOpen(id: number): number;
  programMaps(program: number): number[] | number;
  mapOpen(id: number): number;
  programTestRun(
    program: number,
    data: Uint8Array,
    repeat: number,
  ): { result: number; durationNs: number } | number;
  /** Resolves with the context after the run. */
  programRun(program: number, context: Uint8Array): Promise<Uint8Array | number>;
  filterAttach(
    program: number,
    interfaceIndex: number,
    egress: boolean,
    priority: number,
    namespace: number,
    handle: number,
    replace: boolean,
  ): { handle: number; priority: number } | number;
  filterList(index: number, egress: boolean, namespace: number): string[] | number;
  filterProgram(
    interfaceIndex: number,
    egress: boolean,
    handle: number,
    priority: number,
    namespace: number,
  ): number;
  filterDetach(
    interfaceIndex: number,
    egress: boolean,
    handle: number,
    priority: number,
    namespace: number,
  ): number;
  interfaceIndex(name: string, namespace: number): number;
  interfaceList(namespace: number, other: number): NativeInterface[] | number;
  statisticsOpen(): number;

  writerOpen(descriptor: number, name: string): NativeHandle | number;
  writerPut(writer: NativeHandle, text: string, lines: number): void;
  writerQueued(writer: NativeHandle): number;
  writerWait(writer: NativeHandle, milliseconds: number): boolean;

  ringOpen(
    map: number,
    recordSize: number,
    buffers: ArrayBuffer[],
    batchRecords: number,
    delayMs: number,
    deliver: (buffer: number, bytes: number, count: number) => void,
  ): NativeHandle | number;
  ringDone(ring: NativeHandle, buffer: number): void;
  ringReference(ring: NativeHandle, keepAlive: boolean): void;
  ringCounters(ring: NativeHandle): { records: number; batches: number; oversized: number; pending: number };
  ringClose(ring: NativeHandle): void;

  restrictProcess(keepLow: number, keepHigh: number): number;
  denySystemCalls(): number;

  /** Sets the time slice of the calling thread. Returns 0, or a negated errno. */
  requestSlice(nanoseconds: number): number;
  kernelBarrier(): Promise<number>;
  kernelBarrierByMap(): number;
  probeProgramType(type: number): number;
  probeMapType(type: number): number;
  probeHelper(programType: number, helper: number): number;
  probeBatch(): number;
  probeInstructions(
    programType: number,
    attachType: number,
    instructions: Uint8Array,
  ): { fd: number; log: string };

  namespaceOpen(path: string): number;
  namespaceCreate(): number;
  namespaceType(fd: number): number;
  namespaceCookie(fd: number): bigint | number;

  socketOpen(
    namespace: number,
    family: number,
    type: number,
    protocol: number,
    options: Int32Array,
    bindAddress: string | undefined,
    bindPort: number,
    action: number,
    backlog: number,
    connectAddress: string | undefined,
    connectPort: number,
  ): number;
  /** Index into the options array's triples, or -1 socket, -2 bind, -3 listen, -4 connect, -5 setns, -6 address. */
  socketFailedStep(): number;
  socketName(fd: number, peer: boolean): NativeSocketAddress | number;
  socketGetInteger(fd: number, level: number, option: number): bigint | number;
  /** `states` is a mask. */
  tcpSockets(namespace: number, states: number): Promise<{ bytes: Uint8Array; count: number } | number>;
  tcpSocketsDestroy(namespace: number, records: Uint8Array, recordSize: number): Promise<number>;
  /** Probes listing without listing: returns 0, or a negated errno. */
  probeTcpSockets(): number;
  tcpSocketLayout(): NativeTcpSocketLayout;
  datagramPayloadOffset(): number;
  datagramsReceive(fd: number, memory: Uint8Array, slotBytes: number, slots: number): number;
  datagramsSend(fd: number, memory: Uint8Array, slotBytes: number, slots: number): number;
  datagramAsk(
    namespace: number,
    family: 4 | 6,
    address: string,
    port: number,
    mark: number,
    payload: Uint8Array,
  ): number;
  datagramReceive(fd: number, into: Uint8Array): number;
  datagramRetire(fd: number): number;
  reuseportMigrate(fd: number): number;

  releaseMemory(): void;
  trimAllocator(): Promise<void>;

  watcherOpen(fd: number, ready: (status: number, events: number) => void): NativeHandle | number;
  watcherStart(watcher: NativeHandle, events: number): number;
  watcherReference(watcher: NativeHandle, keepAlive: boolean): void;
  watcherClose(watcher: NativeHandle): void;

  seqpacketConnect(path: string): number;
  seqpacketListen(path: string, backlog: number): number;
  seqpacketAccept(fd: number): number;
  seqpacketSend(fd: number, bytes: Uint8Array, descriptors: Int32Array): number;
  seqpacketReceive(
    fd: number,
    into: Uint8Array,
    descriptors: Int32Array,
  ): { length: number; descriptors: number; truncated: boolean; descriptorsTruncated: boolean } | number;
}

const loaded = new Map<string, unknown>();

/** Returns this package's addon, loaded on first use. @throws KmeshError as {@link loadAddon} */
export function addon(): NativeAddon {
  return loadAddon('linux') as NativeAddon;
}

/**
 * Loads `kmesh-<name>.node` once and returns its exports. Searches only `KMESH_ADDON_DIRECTORY` if set, else the
 * workspace's `build/`. The single executable contains its own.
 *
 * @throws KmeshError `KMESH_ADDON_MISSING` if it does not exist, `KMESH_ADDON_BROKEN` if it cannot be loaded.
 */
export function loadAddon(name: 'linux' | 'tunnel'): unknown {
  const before = loaded.get(name);
  if (before !== undefined) return before;
  const file = `kmesh-${name}.node`;
  const path = isSea() ? file : addonPath(file);
  try {
    const exports: unknown = isSea() ? loadCarriedAddon(file) : createRequire(import.meta.url)(path);
    loaded.set(name, exports);
    return exports;
  } catch (cause) {
    throw new KmeshError(
      'KMESH_ADDON_BROKEN',
      `the native addon ${path} cannot be loaded: ${cause instanceof Error ? cause.message : String(cause)}; ` +
        'rebuild it with "bash scripts/build-addon.sh"',
      { cause },
    );
  }
}

function addonPath(file: string): string {
  const override = process.env['KMESH_ADDON_DIRECTORY'];
  const candidates =
    override !== undefined && override !== ''
      ? [join(override, file)]
      : [fileURLToPath(new URL(`../../../build/${file}`, import.meta.url))];
  const found = candidates.find((candidate) => existsSync(candidate));
  if (found !== undefined) return found;
  throw new KmeshError(
    'KMESH_ADDON_MISSING',
    `the native addon is not at ${candidates.join(' or ')}; build it with "bash scripts/build-addon.sh"`,
  );
}
