import type { Identity } from '@kmesh/api';

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
