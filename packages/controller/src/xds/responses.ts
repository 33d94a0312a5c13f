import { performance } from 'node:perf_hooks';
import { isKmeshError, type MeshUpdate, securityProto, workloadProto, xds } from '@kmesh/api';
import { Slicer } from '@kmesh/orchestration';
import { type Interner, rejected } from './convert/common.ts';
import { convertPolicy, hasUnknownPart } from './convert/policy.ts';
import { convertService } from './convert/service.ts';
import { convertWorkload } from './convert/workload.ts';
import { type HeldKind, type RetainedResources, removalOf } from './retained.ts';
import { UnreadResources } from './unread-resources.ts';

/** A resource that changes the mesh, never a removal. */
type ResourceUpdate = Extract<MeshUpdate, { kind: HeldKind }>;

/** Receiver of a decoded response. */
interface ResponseTarget {
  readonly retained: (typeUrl: string) => RetainedResources;
  readonly interner: Interner;
  /** Applies one slice of changes. */
  readonly apply: (updates: readonly MeshUpdate[]) => void | Promise<void>;
  /** Called with the name and aliases of each resource or removal after it is applied. */
  readonly settled: (typeUrl: string, names: readonly string[]) => void;
  /** Called for a policy with fields unknown to this version. */
  readonly notUnderstood: (policyKey: string) => void;
  /** Names to remove unless this response carries them; see `FirstRequest` in requests.ts. */
  readonly unconfirmed: (typeUrl: string) => Set<string> | undefined;
}

/** The result of applying a response. */
export interface AppliedResponse {
  readonly header: xds.ResponseHeader;
  readonly known: boolean;
  readonly accepted: number;
  /** Sum of the payloads, in bytes. */
  readonly payloadBytes: number;
  readonly rejections: readonly Rejection[];
  /** Number of removed names that were not held. */
  readonly unknownRemovals: number;
}

export interface Rejection {
  readonly name: string;
  readonly reason: string;
}

/** Slice of decoding and applying between two yields to the event loop. */
const sliceMilliseconds = 2;
const smallestBatch = 16;
const largestBatch = 2_000;

/**
 * Decodes a response and applies it in slices: resources first, removals second (docs/contract.md 3.3). Good
 * resources are applied even when others are rejected. The memory of a long response is given back while it is being
 * applied: `bytes` cannot be used afterwards.
 *
 * @throws KMESH_XDS_RESPONSE_MALFORMED when the bytes are not a response at all; nothing was applied then.
 */
export async function applyResponse(bytes: Buffer, target: ResponseTarget): Promise<AppliedResponse> {
  const slicer = new Slicer(sliceMilliseconds);
  const header = await readHeaderInSlices(bytes, slicer);
  const known = isKnownType(header.typeUrl);
  if (!known) return { header, known, accepted: 0, payloadBytes: 0, rejections: [], unknownRemovals: 0 };
  const batch = new Batch(header.typeUrl, target, slicer);
  const rejections: Rejection[] = [];
  const retained = target.retained(header.typeUrl);
  const unconfirmed = target.unconfirmed(header.typeUrl);
  let accepted = 0;
  let payloadBytes = 0;
  const resources = new UnreadResources(bytes, slicer);
  for (let resource = resources.next(); resource !== undefined; resource = resources.next()) {
    payloadBytes += resource.payload?.length ?? 0;
    unconfirmed?.delete(resource.name);
    try {
      const update = decodeResource(header.typeUrl, resource, target.interner);
      const replaced = retained.accept(resource.name, update.kind, resource.version);
      if (replaced !== undefined) batch.add(removalOf(replaced, resource.name), noNames);
      noteUnknownParts(update, target);
      batch.add(update, namesOf(resource));
      accepted++;
    } catch (error) {
      retained.reject(resource.name);
      rejections.push(rejectionOf(resource, error));
    }
    if (batch.isDue()) await batch.flush();
    if (resources.shrinkIsDue) await resources.shrink();
  }
  let unknownRemovals = 0;
  const remove = (name: string): void => {
    const update = removalFor(name, retained);
    if (update === undefined) unknownRemovals++;
    batch.add(update, [name]);
  };
  for (const name of header.removed) {
    unconfirmed?.delete(name);
    remove(name);
    if (batch.isDue()) await batch.flush();
  }
  for (const name of unconfirmed ?? []) {
    remove(name);
    if (batch.isDue()) await batch.flush();
  }
  await batch.flush();
  return { header, known, accepted, payloadBytes, rejections, unknownRemovals };
}

const noNames: readonly string[] = [];

async function readHeaderInSlices(bytes: Buffer, slicer: Slicer): Promise<xds.ResponseHeader> {
  const walk = xds.readResponseHeader(bytes);
  for (;;) {
    const step = walk.next();
    if (step.done) return step.value;
    if (slicer.due) await slicer.pause();
  }
}

/** Changes to apply together, and the names that are settled afterwards. */
class Batch {
  readonly #typeUrl: string;
  readonly #target: ResponseTarget;
  readonly #slicer: Slicer;
  #updates: MeshUpdate[] = [];
  #names: (readonly string[])[] = [];
  /** Number of updates that fit into a slice; adjusted to the time that the last slices took. */
  #limit = 200;
  #begun = performance.now();

  constructor(typeUrl: string, target: ResponseTarget, slicer: Slicer) {
    this.#typeUrl = typeUrl;
    this.#target = target;
    this.#slicer = slicer;
  }

  add(update: MeshUpdate | undefined, names: readonly string[]): void {
    if (update !== undefined) this.#updates.push(update);
    if (names.length > 0) this.#names.push(names);
  }

  isDue(): boolean {
    return this.#updates.length >= this.#limit || this.#slicer.due;
  }

  async flush(): Promise<void> {
    const updates = this.#updates;
    this.#updates = [];
    if (updates.length > 0) await this.#target.apply(updates);
    this.#adjust(updates.length);
    for (const names of this.#names) this.#target.settled(this.#typeUrl, names);
    this.#names = [];
    await this.#slicer.pause();
    this.#begun = performance.now();
  }

  #adjust(count: number): void {
    const spent = performance.now() - this.#begun;
    if (count >= this.#limit && spent < sliceMilliseconds / 2) {
      this.#limit = Math.min(largestBatch, Math.ceil(this.#limit * 1.5));
    } else if (spent > sliceMilliseconds) {
      this.#limit = Math.max(smallestBatch, Math.floor((count * sliceMilliseconds) / spent));
    }
  }
}

function namesOf(resource: xds.RawResource): readonly string[] {
  return resource.aliases.length === 0 ? [resource.name] : [resource.name, ...resource.aliases];
}

function noteUnknownParts(update: ResourceUpdate, target: ResponseTarget): void {
  if (update.kind === 'policy' && hasUnknownPart(update.policy)) {
    target.notUnderstood(`${update.policy.namespace}/${update.policy.name}`);
  }
}

function rejectionOf(resource: xds.RawResource, error: unknown): Rejection {
  return {
    name: resource.name === '' ? '(unnamed)' : resource.name,
    reason: isKmeshError(error) ? error.message : `payload cannot be decoded: ${String(error)}`,
  };
}

/**
 * Returns the update for a removed name (docs/contract.md 3.5): the workload of that uid, else the service of that
 * key. A name that is not held removes nothing.
 */
function removalFor(name: string, retained: RetainedResources): MeshUpdate | undefined {
  const kind = retained.remove(name);
  return kind === undefined ? undefined : removalOf(kind, name);
}

/** Returns whether this version knows a resource type. */
function isKnownType(typeUrl: string): boolean {
  return typeUrl === xds.addressTypeUrl || typeUrl === xds.authorizationTypeUrl;
}

/**
 * Decodes and converts one resource of a known type.
 *
 * @throws KMESH_XDS_RESOURCE_REJECTED, or the decoder's error, if the resource cannot be used.
 */
export function decodeResource(
  typeUrl: string,
  resource: xds.RawResource,
  interner: Interner,
): ResourceUpdate {
  if (resource.damage !== undefined) throw rejected(resource.damage);
  if (resource.payload === undefined) throw rejected('resource has no payload');
  return typeUrl === xds.addressTypeUrl
    ? decodeAddress(resource.payload, interner, resource.name)
    : {
        kind: 'policy',
        policy: convertPolicy(securityProto.Authorization.decodeKeepingUnknown(resource.payload)),
      };
}

function decodeAddress(payload: Buffer, interner: Interner, name: string): ResourceUpdate {
  const address = workloadProto.Address.decode(payload);
  if (address.workload) {
    return { kind: 'workload', workload: convertWorkload(address.workload, interner, name) };
  }
  if (address.service) return { kind: 'service', service: convertService(address.service, interner) };
  throw rejected('address is neither a workload nor a service');
}
