import { isIP } from 'node:net';
import type { xds } from '@kmesh/api';

/** Identity of the caller, as a token review would return it. */
export interface CallerIdentity {
  readonly namespace: string;
  readonly serviceAccount: string;
}

function metadataText(node: xds.Node, key: string): string | undefined {
  return node.metadata?.fields?.[key]?.stringValue ?? undefined;
}

/** The node's name, for the pods that are always pushed to it. */
export function nodeName(node: xds.Node): string {
  return metadataText(node, 'NODE_NAME') ?? '';
}

/**
 * Returns why istiod would refuse this node (ambient contract 3.2), or `undefined` if it would accept it. `caller` is
 * absent on the unauthenticated port.
 */
export function nodeProblem(node: xds.Node, caller: CallerIdentity | undefined): string | undefined {
  const parts = (node.id ?? '').split('~');
  const [type, ip, name, domain] = parts;
  if (parts.length !== 4 || ip === undefined || name === undefined || domain === undefined) {
    return `node id "${node.id ?? ''}" does not have four parts`;
  }
  if (type !== 'ztunnel') return `node type "${type}" is not ztunnel`;
  if (isIP(ip) === 0) return `node id has no valid IP: "${ip}"`;
  if (!name.includes('.') || !domain.endsWith('.svc.cluster.local'))
    return `node id "${node.id}" is malformed`;
  if (metadataText(node, 'GENERATOR') !== undefined) return 'metadata GENERATOR must not be set';
  if (caller === undefined) return undefined;
  const namespace = metadataText(node, 'NAMESPACE');
  if (namespace !== caller.namespace)
    return `metadata NAMESPACE is "${namespace ?? ''}", the token's is "${caller.namespace}"`;
  const account = metadataText(node, 'SERVICE_ACCOUNT');
  if (account !== undefined && account !== caller.serviceAccount) {
    return `metadata SERVICE_ACCOUNT is "${account}", the token's is "${caller.serviceAccount}"`;
  }
  return undefined;
}
