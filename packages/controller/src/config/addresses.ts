import { configError, type Environment } from './values.ts';

/**
 * A control plane address as a URI: `https://` is put in front when there is no scheme (ambient contract 2.2).
 *
 * @throws KMESH_CONFIG_INVALID when it does not parse.
 */
function controlPlaneUri(setting: string, text: string): string {
  const uri = text.includes('://') ? text : `https://${text}`;
  const allowed = 'an address such as istiod.istio-system.svc:15012 or https://host:port is allowed';
  if (!URL.canParse(uri)) throw configError(setting, text, allowed);
  const url = new URL(uri);
  if ((url.protocol !== 'http:' && url.protocol !== 'https:') || url.hostname === '')
    throw configError(setting, text, allowed);
  return uri;
}

/** Where istiod is when nothing says otherwise. */
function defaultControlPlane(environment: Environment): string {
  return environment['KUBERNETES_SERVICE_HOST'] === undefined
    ? 'https://localhost:15012'
    : 'https://istiod.istio-system.svc:15012';
}

/** Address of xDS, or `undefined` when the empty text turned it off (conformance PRC-15, PRC-23). */
export function xdsAddress(
  environment: Environment,
  discoveryAddress: string | undefined,
): string | undefined {
  const text = environment['XDS_ADDRESS'] ?? discoveryAddress ?? defaultControlPlane(environment);
  return text === '' ? undefined : controlPlaneUri('XDS_ADDRESS', text);
}

/** Address of the certificate authority. The empty text is an error (conformance PRC-22). */
export function caAddress(environment: Environment): string {
  const text = environment['CA_ADDRESS'] ?? defaultControlPlane(environment);
  if (text === '') {
    throw configError(
      'CA_ADDRESS',
      text,
      'it must not be empty; unset it for the default, or give the address of istiod',
    );
  }
  return controlPlaneUri('CA_ADDRESS', text);
}

/** Address of the DNS proxy: `localhost:port` or a socket address (conformance PRC-21). */
export function dnsProxyAddress(text: string): { host: string; port: number } {
  const match = /^(localhost|\d+\.\d+\.\d+\.\d+|\[[0-9a-fA-F:.]+\]):(\d+)$/.exec(text);
  const port = Number(match?.[2]);
  if (match === null || port > 65535) {
    throw configError(
      'ISTIO_META_DNS_PROXY_ADDR',
      text,
      'localhost:port, an IPv4 address:port or [IPv6 address]:port is allowed',
    );
  }
  return { host: (match[1] ?? '').replace(/^\[|\]$/g, ''), port };
}
