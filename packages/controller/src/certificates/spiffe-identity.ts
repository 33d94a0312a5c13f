import type { Identity } from '@kmesh/api';

/** `spiffe://<trust domain>/ns/<namespace>/sa/<account>` (ambient contract 3.6). */
export function identityUri(identity: Identity): string {
  return `spiffe://${identity.trustDomain}/ns/${identity.namespace}/sa/${identity.serviceAccount}`;
}

/** The identity that a SPIFFE URI names, or `undefined` when it has another form. */
export function parseIdentityUri(uri: string): Identity | undefined {
  const match = /^spiffe:\/\/([^/]+)\/ns\/([^/]+)\/sa\/([^/]+)$/.exec(uri);
  if (match?.[1] === undefined || match[2] === undefined || match[3] === undefined) return undefined;
  return { trustDomain: match[1], namespace: match[2], serviceAccount: match[3] };
}

/** What the own identity is made of; see `POD_NAMESPACE`, `SERVICE_ACCOUNT`, `TRUST_DOMAIN`. */
export interface OwnIdentitySettings {
  readonly podName: string;
  readonly podNamespace: string;
  readonly serviceAccount: string;
  readonly trustDomain: string;
}

/** The proxy's own identity, for the self-listener; `undefined` unless pod, namespace and account are known. */
export function ownIdentity(settings: OwnIdentitySettings): Identity | undefined {
  if (settings.podName === '' || settings.podNamespace === '' || settings.serviceAccount === '')
    return undefined;
  return {
    trustDomain: settings.trustDomain,
    namespace: settings.podNamespace,
    serviceAccount: settings.serviceAccount,
  };
}
