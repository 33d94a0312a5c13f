import type { FakeIstiod } from '../../istiod/istiod-interface.ts';

/** Returns the daemon's settings for a fake istiod that is relayed to port 15012 of its host. */
export function istiodEnvironment(istiod: FakeIstiod): Record<string, string> {
  return {
    XDS_ADDRESS: 'https://127.0.0.1:15012',
    CA_ADDRESS: 'https://127.0.0.1:15012',
    XDS_ROOT_CA: istiod.rootPem,
    CA_ROOT_CA: istiod.rootPem,
    AUTH_TOKEN: istiod.token,
    POD_NAME: 'ztunnel-1',
    POD_NAMESPACE: 'istio-system',
    SERVICE_ACCOUNT: 'ztunnel',
    NODE_NAME: 'node-0',
  };
}
