import { performance } from 'node:perf_hooks';
import { isKmeshError, type Logger, type MeshUpdate, securityProto, workloadProto, xds } from '@kmesh/api';
import { Slicer } from '@kmesh/orchestration';
import type { ReceivedResponse } from '../istiod/thread.ts';
import { type Interner, rejected } from './convert/common.ts';
import { convertPolicy, hasUnknownPart } from './convert/policy.ts';
import { convertRoute } from './convert/route.ts';
import { convertService } from './convert/service.ts';
import { convertWorkload } from './convert/workload.ts';
import { type HeldKind, type RetainedResources, removalOf } from './resources.ts';
import type { TerminationReason } from './retry.ts';

/** A resource that changes the mesh, never a removal. */
type ResourceUpdate = Extract<MeshUpdate, { kind: HeldKind }>;

/** Receiver of a decoded response. */
interface ResponseTarget {
  readonly retained: (typeUrl: string) => RetainedResources;
  readonly interner: Interner;
  /** Completes host names of routes that have no dot; `cluster.local` by default. */
  readonly clusterDomain?: string | undefined;
  /** Applies one slice of changes. */
  readonly apply: (updates: readonly MeshUpdate[]) => void | Promise<void>;
  /** Called with the name and aliases of each resource, or the name of each removal, after it is applied. */
  readonly settled: (typeUrl: string, names: readonly string[], isRemoval: boolean) => void;
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
  /** Number of removed names. */
  readonly removed: number;
  /** Sum of the payloads, in bytes. */
  readonly payloadBytes: number;
  readonly rejections: readonly Rejection[];
  /** Number of removed names that were not held. */
  readonly unknownRemovals: number;
}

interface Rejection {
  readonly name: string;
  readonly reason: string;
}

/** Slice of decoding and applying between two yields to the event loop. */
const sliceMilliseconds = 2;
const smallestBatch = 16;
const largestBatch = 2_000;

/**
 * Decodes a response and applies it in slices: resources first, removals second (ambient contract 3.3). Good resources
 * are applied even if others are rejected. Decoded pieces can be garbage-collected, so that a long response and its
 * records are never in memory in full at the same time.
 */
export async function applyResponse(
  response: ReceivedResponse,
  target: ResponseTarget,
): Promise<AppliedResponse> {
  const { header } = response;
  const counts = { accepted: 0, removed: 0, unknownRemovals: 0, payloadBytes: 0 };
  const rejections: Rejection[] = [];
  const known = isKnownType(header.typeUrl);
  if (!known) return { header, known, ...counts, rejections };
  const batch = new Batch(header.typeUrl, target, new Slicer(sliceMilliseconds));
  const retained = target.retained(header.typeUrl);
  const unconfirmed = target.unconfirmed(header.typeUrl);

  const replace = (resource: xds.RawResource): void => {
    counts.payloadBytes += resource.payload?.length ?? 0;
    if (isRepeatedRoute(header.typeUrl, resource, retained)) {
      counts.accepted++;
      return;
    }
    try {
      const update = decodeResource(header.typeUrl, resource, target.interner, target.clusterDomain);
      const replaced = retained.accept(resource.name, update.kind, resource.version);
      if (replaced !== undefined) batch.add(removalOf(replaced, resource.name));
      noteUnknownParts(update, target);
      batch.add(update, { names: namesOf(resource), isRemoval: false });
      counts.accepted++;
    } catch (error) {
      retained.reject(resource.name);
      rejections.push(rejectionOf(resource, error));
    }
  };
  const remove = (name: string): void => {
    const update = removalFor(name, retained);
    if (update === undefined) counts.unknownRemovals++;
    batch.add(update, { names: [name], isRemoval: true });
  };

  try {
    for (let piece = await response.nextPiece(); piece; piece = await response.nextPiece()) {
      for (const part of xds.readPiece(piece)) {
        const isRemoval = typeof part === 'string';
        unconfirmed?.delete(isRemoval ? part : part.name);
        if (isRemoval) {
          counts.removed++;
          remove(part);
        } else replace(part);
        if (batch.isDue()) await batch.flush();
      }
    }
    for (const name of unconfirmed ?? []) {
      remove(name);
      if (batch.isDue()) await batch.flush();
    }
  } finally {
    // Also if the rest of the response is lost: the next stream reports these changes as held.
    await batch.flush();
  }
  return { header, known, ...counts, rejections };
}

/** The names of a resource, or the name of a removal. */
interface Settled {
  readonly names: readonly string[];
  readonly isRemoval: boolean;
}

/** Changes to apply together, and the names that are settled afterwards. */
class Batch {
  readonly #typeUrl: string;
  readonly #target: ResponseTarget;
  readonly #slicer: Slicer;
  #updates: MeshUpdate[] = [];
  #settled: Settled[] = [];
  /**
   * Number of updates per slice; adjusted to the duration of the last slices. Small at first: applying is not
   * interrupted, and code that has not run yet is ten times slower.
   */
  #limit = 32;
  #begun = performance.now();

  constructor(typeUrl: string, target: ResponseTarget, slicer: Slicer) {
    this.#typeUrl = typeUrl;
    this.#target = target;
    this.#slicer = slicer;
  }

  add(update: MeshUpdate | undefined, settled?: Settled): void {
    if (update !== undefined) this.#updates.push(update);
    if (settled !== undefined) this.#settled.push(settled);
  }

  isDue(): boolean {
    return this.#updates.length >= this.#limit || this.#slicer.due;
  }

  async flush(): Promise<void> {
    const updates = this.#updates;
    this.#updates = [];
    if (updates.length > 0) await this.#target.apply(updates);
    this.#adjust(updates.length);
    for (const { names, isRemoval } of this.#settled) {
      this.#target.settled(this.#typeUrl, names, isRemoval);
    }
    this.#settled = [];
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

/**
 * Returns whether a route is unchanged. Routes are sent in full at every change of the mesh; held ones are not decoded
 * again.
 */
function isRepeatedRoute(typeUrl: string, resource: xds.RawResource, retained: RetainedResources): boolean {
  if (typeUrl !== xds.virtualServiceTypeUrl || resource.payload === undefined) return false;
  return resource.damage === undefined && retained.isRepeated(resource.name, resource.payload);
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
  return (
    typeUrl === xds.addressTypeUrl ||
    typeUrl === xds.authorizationTypeUrl ||
    typeUrl === xds.virtualServiceTypeUrl
  );
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
  clusterDomain = 'cluster.local',
): ResourceUpdate {
  if (resource.damage !== undefined) throw rejected(resource.damage);
  if (resource.payload === undefined) throw rejected('resource has no payload');
  if (typeUrl === xds.virtualServiceTypeUrl) {
    return { kind: 'route', route: convertRoute(resource.payload, resource.name, clusterDomain) };
  }
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

/** Counters of one xDS client, for the metrics of docs/contract.md 15. Monotonic. */
export interface XdsCounters {
  /** Ended streams and failed connections, by reason. */
  readonly terminations: Record<TerminationReason, number>;
  /** Responses by type URL. */
  readonly messages: Map<string, number>;
  /** Bytes of resource payloads by type URL. */
  readonly messageBytes: Map<string, number>;
  acknowledged: number;
  rejected: number;
  rejectedResources: number;
}

const loggedTextLength = 2_000;
/** Bounds the counters if a control plane sends arbitrary type URLs. */
const maximumTypes = 16;

/** Creates counters at zero. */
export function createCounters(): XdsCounters {
  return {
    terminations: { ConnectionError: 0, Reconnect: 0, Error: 0, Complete: 0 },
    messages: new Map(),
    messageBytes: new Map(),
    acknowledged: 0,
    rejected: 0,
    rejectedResources: 0,
  };
}

/** Counts one response. */
export function countResponse(counters: XdsCounters, typeUrl: string, payloadBytes: number): void {
  const { messages, messageBytes } = counters;
  const url = messages.has(typeUrl) || messages.size < maximumTypes ? typeUrl : 'other';
  messages.set(url, (messages.get(url) ?? 0) + 1);
  messageBytes.set(url, (messageBytes.get(url) ?? 0) + payloadBytes);
}

/** Counts and logs how a response was answered; returns whether all of it was accepted. */
export function recordAnswer(response: AppliedResponse, counters: XdsCounters, logger: Logger): boolean {
  const { header, known, rejections, accepted, unknownRemovals } = response;
  const type = header.typeUrl;
  if (!known) logger.warn('ignored an xDS response of an unknown type', { type });
  if (unknownRemovals > 0) {
    logger.debug('xDS response removed unknown names', { type, count: unknownRemovals });
  }
  if (rejections.length > 0) {
    counters.rejected++;
    counters.rejectedResources += rejections.length;
    const problems = rejectionText(rejections, loggedTextLength);
    logger.error('rejected some resources of an xDS response', {
      type,
      accepted,
      rejected: rejections.length,
      problems,
    });
    return false;
  }
  counters.acknowledged++;
  logger.debug('xDS response applied', { type, resources: accepted, removed: response.removed });
  return true;
}

/** Formats `name: reason; name: reason`, cut at `maximumLength` with a count of the rest. */
export function rejectionText(rejections: readonly Rejection[], maximumLength: number): string {
  let text = '';
  for (const [index, { name, reason }] of rejections.entries()) {
    const item = `${index === 0 ? '' : '; '}${name}: ${reason}`;
    if (text.length + item.length > maximumLength) return `${text}; and ${rejections.length - index} more`;
    text += item;
  }
  return text;
}
