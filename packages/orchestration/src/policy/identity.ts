import type { Identity, Workload } from '@kmesh/api';

/** `td/ns/<namespace>/sa/<account>`: how policies spell an identity (contract 8.3). */
export function formatPrincipal(identity: Identity): string {
  return `${identity.trustDomain}/ns/${identity.namespace}/sa/${identity.serviceAccount}`;
}

/** `spiffe://td/ns/<namespace>/sa/<account>`: how certificates spell an identity. */
export function formatIdentityUri(identity: Identity): string {
  return `spiffe://${identity.trustDomain}/ns/${identity.namespace}/sa/${identity.serviceAccount}`;
}

/** SPIFFE id of a workload (contract 3.6). */
export function identityUriOf(
  workload: Pick<Workload, 'trustDomain' | 'namespace' | 'serviceAccount'>,
): string {
  return formatIdentityUri(workload);
}

/**
 * Reads a SPIFFE id of Istio's form; `undefined` for everything else. Namespace and account may be
 * empty, as for a ztunnel. Implements contract 6.1.
 */
export function parseIdentity(uri: string): Identity | undefined {
  const prefix = 'spiffe://';
  if (!uri.startsWith(prefix)) return undefined;
  const parts = uri.slice(prefix.length).split('/');
  const [trustDomain, ns, namespace, sa, serviceAccount] = parts;
  if (parts.length !== 5 || ns !== 'ns' || sa !== 'sa') return undefined;
  if (!trustDomain || namespace === undefined || serviceAccount === undefined) return undefined;
  return { trustDomain, namespace, serviceAccount };
}
