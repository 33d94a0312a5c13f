import { xds } from '@kmesh/api';
import { Slicer } from '@kmesh/orchestration';
import type { JsonValue } from '../config/computed.ts';
import { grpcStatus } from '../istiod/control-plane.ts';
import type { RetainedResources } from './resources.ts';
import { type AppliedResponse, rejectionText } from './responses.ts';

/** Identity of this proxy in xDS requests. */
export interface NodeIdentity {
  readonly instanceIp: string;
  readonly podName: string;
  readonly podNamespace: string;
  readonly nodeName: string;
  /** Proxy metadata and `ISTIO_METAJSON_*` values. */
  readonly metadata: Readonly<Record<string, JsonValue>>;
}

/** Builds the `Node` of the first request of each type (docs/contract.md 3.2). */
export function nodeMessage(node: NodeIdentity): xds.Node {
  const { podName, podNamespace, instanceIp, nodeName, metadata } = node;
  const ip = instanceIp === '' ? '1.1.1.1' : instanceIp;
  return {
    // The last part is constant: it does not depend on CLUSTER_DOMAIN.
    id: `ztunnel~${ip}~${podName}.${podNamespace}~${podNamespace}.svc.cluster.local`,
    metadata: structOf({
      NAME: podName,
      NAMESPACE: podNamespace,
      INSTANCE_IPS: ip,
      NODE_NAME: nodeName,
      ...metadata,
    }),
  };
}

/** Converts a JSON object to a protobuf `Struct` (conformance XDS-02). */
function structOf(object: Readonly<Record<string, JsonValue>>): xds.Struct {
  return {
    fields: Object.fromEntries(Object.entries(object).map(([key, value]) => [key, jsonValue(value)])),
  };
}

function jsonValue(value: JsonValue): xds.Value {
  if (value === null) return { nullValue: 0 };
  if (typeof value === 'boolean') return { boolValue: value };
  if (typeof value === 'number') return { numberValue: value };
  if (typeof value === 'string') return { stringValue: value };
  if (isList(value)) return { listValue: { values: value.map(jsonValue) } };
  return { structValue: structOf(value) };
}

function isList(value: JsonValue): value is readonly JsonValue[] {
  return Array.isArray(value);
}

/** The first request of a type on a stream. */
interface FirstRequest {
  readonly bytes: Buffer;
  /**
   * Held names that did not fit. The control plane does not know them and cannot remove them: the client removes those
   * that are missing from the first response.
   */
  readonly unconfirmed: Set<string>;
}

/** istiod accepts requests of up to 4 MiB; a longer one would fail at every reconnect. */
const maximumBytes = 3.75 * 1024 * 1024;
const sliceMilliseconds = 6;

/** Contents of a first request. */
interface FirstRequestContent {
  readonly typeUrl: string;
  readonly node: xds.Node;
  /** Subscribes to no resource instead of all. */
  readonly onDemand: boolean;
  readonly retained: RetainedResources;
  /** Names that lookups wait for; sent with an empty version. */
  readonly pending: Iterable<string>;
}

/**
 * Builds the first request of a type (docs/contract.md 3.3): node, subscription, and the versions of held resources.
 * Works in slices, because a large mesh has megabytes of versions.
 */
export async function buildFirstRequest({
  typeUrl,
  node,
  onDemand,
  retained,
  pending,
}: FirstRequestContent): Promise<FirstRequest> {
  const subscription = onDemand ? { resourceNamesSubscribe: ['*'], resourceNamesUnsubscribe: ['*'] } : {};
  const parts = [xds.DeltaDiscoveryRequest.encode({ node, typeUrl, ...subscription })];
  const unconfirmed = new Set<string>();
  const slicer = new Slicer(sliceMilliseconds);
  let size = parts[0]?.length ?? 0;
  let chunk: [name: string, version: string][] = [];
  const flush = (): void => {
    if (chunk.length === 0) return;
    // Concatenated encodings of parts of a message are the encoding of the whole message.
    parts.push(xds.DeltaDiscoveryRequest.encode({ initialResourceVersions: Object.fromEntries(chunk) }));
    chunk = [];
  };
  const add = (name: string, version: string): boolean => {
    const bytes = Buffer.byteLength(name) + version.length + 12;
    if (size + bytes > maximumBytes) return false;
    size += bytes;
    chunk.push([name, version]);
    return true;
  };
  const waiting = new Set(pending);
  for (const name of waiting) add(name, '');
  for (const [name, version] of retained.versions()) {
    if (!waiting.has(name) && !add(name, version)) unconfirmed.add(name);
    if (chunk.length < 256) continue;
    flush();
    if (slicer.due) await slicer.pause();
  }
  flush();
  return { bytes: Buffer.concat(parts), unconfirmed };
}

/** Limit for the list of bad resources; the rest is counted. */
const maximumTextLength = 512 * 1024;

/** Builds the ACK or NACK of an applied response (docs/contract.md 3.3). */
export function answerTo(response: AppliedResponse): Buffer {
  const { typeUrl, nonce } = response.header;
  const answer: xds.DeltaDiscoveryRequest = { typeUrl, responseNonce: nonce };
  if (response.rejections.length > 0) {
    answer.errorDetail = {
      code: grpcStatus.INVALID_ARGUMENT,
      message: rejectionText(response.rejections, maximumTextLength),
    };
  }
  return xds.DeltaDiscoveryRequest.encode(answer);
}
