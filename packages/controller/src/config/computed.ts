import { configError, cpuQuantity, type Environment, timerSetting } from './values.ts';

/**
 * Returns a control plane address as a URI, with `https://` when it has no scheme (ambient contract 2.2).
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

/** Default address of istiod. */
function defaultControlPlane(environment: Environment): string {
  return environment['KUBERNETES_SERVICE_HOST'] === undefined
    ? 'https://localhost:15012'
    : 'https://istiod.istio-system.svc:15012';
}

/** Returns the address of xDS, or `undefined` when the empty text turns it off (conformance PRC-15, PRC-23). */
export function xdsAddress(
  environment: Environment,
  discoveryAddress: string | undefined,
): string | undefined {
  const text = environment['XDS_ADDRESS'] ?? discoveryAddress ?? defaultControlPlane(environment);
  return text === '' ? undefined : controlPlaneUri('XDS_ADDRESS', text);
}

/** Returns the address of the certificate authority. The empty text is an error (conformance PRC-22). */
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

/** Parses the address of the DNS proxy: `localhost:port` or a socket address (conformance PRC-21). */
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

/**
 * Returns the limit of a graceful drain in milliseconds (ambient contract 2.2 and T12): the explicit deadline, else the
 * grace period less 5 s when it is longer than 10 s, else less 1 s, at least 1 s; 5 s when neither is set.
 */
export function drainDeadline(environment: Environment): number {
  if (environment['CONNECTION_TERMINATION_DEADLINE'] !== undefined)
    return timerSetting(environment, 'CONNECTION_TERMINATION_DEADLINE', 0);
  const grace = environment['TERMINATION_GRACE_PERIOD_SECONDS'];
  if (grace === undefined) return 5_000;
  if (!/^\d+$/.test(grace)) {
    throw configError('TERMINATION_GRACE_PERIOD_SECONDS', grace, 'a whole number of seconds is allowed');
  }
  const seconds = Number(grace);
  return Math.min(0x7fff_ffff, Math.max(1, seconds > 10 ? seconds - 5 : seconds - 1) * 1000);
}

/** More data threads only cost memory: Kubernetes nodes have fewer CPUs. */
const mostThreads = 1_024;

/**
 * Returns the number of data threads, from 1 to 1024 (ambient contract 2.2, last paragraph).
 *
 * @param concurrency ProxyConfig `concurrency`, when set.
 * @param cores logical cores of this machine.
 */
export function workerThreads(
  environment: Environment,
  concurrency: number | undefined,
  cores: number,
): number {
  return Math.min(mostThreads, Math.max(1, wantedThreads(environment, concurrency, cores)));
}

function wantedThreads(environment: Environment, concurrency: number | undefined, cores: number): number {
  const resourceLimit = quantity(environment, 'ZTUNNEL_RESOURCE_CPU_LIMIT');
  if (resourceLimit === 0) {
    const text = environment['ZTUNNEL_RESOURCE_CPU_LIMIT'] ?? '';
    throw configError('ZTUNNEL_RESOURCE_CPU_LIMIT', text, 'more than 0 CPUs, or leave it unset for no limit');
  }
  const request = quantity(environment, 'ZTUNNEL_RESOURCE_CPU_REQUEST') ?? 0;
  const cpus = resourceLimit ?? quantity(environment, 'ZTUNNEL_CPU_LIMIT') ?? cores;

  const override = environment['ZTUNNEL_WORKER_THREADS'];
  if (override !== undefined) return parseOverride(override, cpus, cores);
  if (concurrency !== undefined) return concurrency > 0 ? concurrency : cores;
  if (resourceLimit !== undefined) return Math.max(resourceLimit, request);
  return Math.max(Math.ceil(cpus * 0.25), request, 2);
}

function quantity(environment: Environment, name: string): number | undefined {
  const text = environment[name];
  return text === undefined ? undefined : cpuQuantity(name, text);
}

function parseOverride(text: string, cpus: number, cores: number): number {
  const allowed = `a number of threads up to ${mostThreads}, 0 for all cores, or a percentage above 0% up to 100% is allowed`;
  const match = /^\+?(?:(\d+)|(\d+\.?\d*|\.\d+)%)$/.exec(text);
  if (match === null) throw configError('ZTUNNEL_WORKER_THREADS', text, allowed);
  const [, count, percentage] = match;
  if (percentage !== undefined) {
    const amount = Number(percentage);
    if (amount <= 0 || amount > 100) throw configError('ZTUNNEL_WORKER_THREADS', text, allowed);
    return Math.ceil((cpus * amount) / 100);
  }
  const amount = Number(count);
  if (amount > mostThreads) throw configError('ZTUNNEL_WORKER_THREADS', text, allowed);
  return amount === 0 ? cores : amount;
}

/** Any JSON value, as in `ISTIO_METAJSON_*` variables. */
export type JsonValue =
  | null
  | boolean
  | number
  | string
  | readonly JsonValue[]
  | { readonly [key: string]: JsonValue };

/**
 * Returns the node metadata for xDS (ambient contract 3.2): mesh file, `PROXY_CONFIG`, `ISTIO_META_*`; later sources
 * override earlier ones. `ISTIO_METAJSON_*` values are JSON; one that does not parse is left out and named in `skipped`.
 */
export function proxyMetadata(
  environment: Environment,
  configured: Readonly<Record<string, string>>,
): { metadata: Readonly<Record<string, JsonValue>>; skipped: readonly string[] } {
  const metadata: Record<string, JsonValue> = {};
  const skipped: string[] = [];
  const set = (name: string, value: JsonValue): void => {
    if (name !== '') metadata[name] = value;
  };
  for (const [name, value] of Object.entries(configured)) {
    set(name.startsWith('ISTIO_META_') ? name.slice('ISTIO_META_'.length) : name, value);
  }
  for (const [name, value] of Object.entries(environment)) {
    if (value !== undefined && name.startsWith('ISTIO_META_')) set(name.slice('ISTIO_META_'.length), value);
  }
  for (const [name, value] of Object.entries(environment)) {
    if (value === undefined || !name.startsWith('ISTIO_METAJSON_')) continue;
    try {
      set(name.slice('ISTIO_METAJSON_'.length), JSON.parse(value) as JsonValue);
    } catch {
      skipped.push(name);
    }
  }
  return { metadata, skipped };
}
