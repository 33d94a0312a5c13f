import type { Identity, Workload } from '@kmesh/api';

/** Formats an identity as policies spell it: `td/ns/<namespace>/sa/<account>` (docs/contract.md 8.3). */
export function formatPrincipal(identity: Identity): string {
  return `${identity.trustDomain}/ns/${identity.namespace}/sa/${identity.serviceAccount}`;
}

/** Formats an identity as certificates spell it: `spiffe://td/ns/<namespace>/sa/<account>`. */
export function formatIdentityUri(identity: Identity): string {
  return `spiffe://${identity.trustDomain}/ns/${identity.namespace}/sa/${identity.serviceAccount}`;
}

/** Returns the SPIFFE id of a workload (docs/contract.md 3.6). */
export function identityUriOf(
  workload: Pick<Workload, 'trustDomain' | 'namespace' | 'serviceAccount'>,
): string {
  return formatIdentityUri(workload);
}

/**
 * Parses a SPIFFE id of Istio's form (docs/contract.md 6.1); returns `undefined` for any other text. Namespace and
 * account may be empty, as for a ztunnel.
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
