import type { xds } from '@kmesh/api';
import type { JsonValue } from '../config/metadata.ts';

/** Who this proxy is, as the control plane wants to know it. */
export interface NodeIdentity {
  readonly instanceIp: string;
  readonly podName: string;
  readonly podNamespace: string;
  readonly nodeName: string;
  /** Proxy metadata and `ISTIO_METAJSON_*` values. */
  readonly metadata: Readonly<Record<string, JsonValue>>;
}

/** The `Node` of the first request of each type (ambient contract 3.2). */
export function nodeMessage(node: NodeIdentity): xds.Node {
  const { podName, podNamespace, instanceIp, nodeName, metadata } = node;
  const ip = instanceIp === '' ? '1.1.1.1' : instanceIp;
  return {
    // The last part is fixed: it does not follow CLUSTER_DOMAIN.
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

/** A JSON object as a protobuf `Struct` (conformance XDS-02). */
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
