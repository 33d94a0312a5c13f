import { readFileSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { KmeshError } from '@kmesh/api';
import type { KernelPathConfig } from '@kmesh/runtime';
import {
  caAddress,
  dnsProxyAddress,
  drainDeadline,
  type JsonValue,
  proxyMetadata,
  workerThreads,
  xdsAddress,
} from './computed.ts';
import { readProxyConfig } from './proxy-config.ts';
import {
  booleanSetting,
  configError,
  durationSetting,
  type Environment,
  integerSetting,
  optionalBoolean,
  sizeSetting,
  textSetting,
  timerSetting,
} from './values.ts';

/** The effective configuration of the daemon; its fields correspond to the environment of ambient contract 2.2. */
export interface Config {
  readonly proxyEnabled: boolean;
  readonly proxyMode: 'shared' | 'dedicated';
  /** The one workload of dedicated mode. */
  readonly proxyWorkload:
    | { readonly namespace: string; readonly name: string; readonly serviceAccount: string }
    | undefined;
  /** `undefined`: xDS is off. */
  readonly xdsAddress: string | undefined;
  readonly xdsRootCa: string;
  readonly alternativeXdsHostname: string | undefined;
  readonly xdsOnDemand: boolean;
  readonly xdsHeaders: Readonly<Record<string, string>>;
  readonly caAddress: string;
  readonly caRootCa: string;
  readonly alternativeCaHostname: string | undefined;
  readonly caHeaders: Readonly<Record<string, string>>;
  /** Path of a token file, a literal token, or `undefined` for the default file when it exists. */
  readonly authToken: string | undefined;
  readonly localMesh: { readonly path: string } | { readonly inline: string } | undefined;
  /** `KMESH_HTTP_ROUTES=by-connection`: HTTP routes with only weights split connections instead of requests. */
  readonly routesHttpByConnection: boolean;
  readonly network: string;
  /** Empty: every workload counts as local. */
  readonly nodeName: string;
  readonly clusterId: string;
  readonly clusterDomain: string;
  readonly packetMark: number | undefined;
  readonly zdsSocket: string;
  readonly inpodPortReuse: boolean;
  readonly secretTtlMilliseconds: number;
  readonly workerThreads: number;
  readonly poolMaxStreamsPerConnection: number;
  readonly poolUnusedReleaseMilliseconds: number;
  /**
   * `KMESH_POD_DESCRIPTORS`: most descriptors of one pod's connections; if unset, as many as stay free for the others.
   */
  readonly podDescriptors: number | undefined;
  /** `KMESH_POD_LOG_LINES`: most access log lines per second of one pod. */
  readonly podLogLines: number;
  /** `KMESH_POD_SERIES`: most metric series of one pod's connections. */
  readonly podSeries: number;
  readonly drainMilliseconds: number;
  /** `undefined`: best effort; true: fail when impossible; false: never spoof. */
  readonly originalSource: boolean | undefined;
  readonly ipv6Enabled: boolean;
  readonly http2: {
    readonly streamWindowBytes: number;
    readonly connectionWindowBytes: number;
    readonly frameBytes: number;
  };
  readonly keepalive: {
    readonly enabled: boolean;
    readonly timeMilliseconds: number;
    readonly intervalMilliseconds: number;
    readonly retries: number;
    readonly userTimeoutEnabled: boolean;
  };
  readonly socks5Enabled: boolean;
  readonly crlPath: string | undefined;
  readonly dnsProxyEnabled: boolean;
  /** `KMESH_RESOLV_CONF`: resolvers for pods whose own are not known; `/etc/resolv.conf` by default. */
  readonly resolvConf: string;
  readonly dnsProxyAddress: { readonly host: string; readonly port: number };
  readonly preferredServiceNamespace: string | undefined;
  readonly localhostAppTunnel: boolean;
  readonly responseBaggageEnabled: boolean;
  /** Own pod, when known: identity of the self-listener and of the xDS node. */
  readonly podName: string;
  readonly podNamespace: string;
  readonly serviceAccount: string;
  readonly trustDomain: string;
  readonly instanceIp: string;
  readonly istioVersion: string;
  readonly metadata: Readonly<Record<string, JsonValue>>;
  readonly policyInfoLogging: boolean;
  readonly postQuantumOnly: boolean;
  readonly tls12Enabled: boolean;
  readonly logFilter: string;
  readonly logFormat: 'plain' | 'json';
  readonly adminPort: number;
  readonly statsPort: number;
  readonly readinessPort: number;
  readonly kernelPath: KernelPathConfig;
  /** Never proxied to. */
  readonly illegalPorts: readonly number[];
  readonly proxyArguments: string;
  /** Problems with settings, to log at start. */
  readonly warnings: readonly string[];
}

/** Inputs of {@link readConfig} besides the environment. */
interface ConfigSources {
  /** Directory of `./etc` and `./var` (ambient contract 2.3); the daemon's working directory. */
  readonly root?: string;
  readonly cores?: number;
  readonly arguments?: readonly string[];
}

const mebibyte = 1024 * 1024;

/** Settings of earlier versions, each with what applies instead. */
const removedSettings: Readonly<Record<string, string>> = {
  KMESH_REDIRECT: 'bytes between pods of a node always go by plain TCP',
  KMESH_PASSTHROUGH_JOIN: 'the data threads always copy the bytes of plaintext connections',
  KMESH_WITHOUT: "the kernel's capabilities are probed at start",
  KMESH_HOOK_STATISTICS:
    'the kernel times its programs while the sysctl kernel.bpf_stats_enabled of the node is 1',
};

/**
 * Reads and checks the whole configuration. One wrong value is an error: the daemon does not start.
 *
 * @throws KMESH_CONFIG_INVALID naming the setting, its value and what is allowed (docs/contract.md 2.2).
 */
export function readConfig(environment: Environment, sources: ConfigSources = {}): Config {
  refuseRemoved(environment);
  const root = sources.root ?? '.';
  const proxyConfig = readProxyConfig(environment, `${root}/etc/istio/config/mesh`);
  const { metadata, skipped } = proxyMetadata(environment, proxyConfig.proxyMetadata);
  const proxyMode = readProxyMode(environment);
  const proxyEnabled = booleanSetting(environment, 'ENABLE_PROXY', true);
  const dnsProxyEnabled = String(metadata['DNS_CAPTURE'] ?? 'true').toLowerCase() === 'true';
  const xdsOnDemand = booleanSetting(environment, 'XDS_ON_DEMAND', false);
  const pins = textSetting(environment, 'KMESH_PINS');
  const socks5Enabled = booleanSetting(environment, 'UNSTABLE_ENABLE_SOCKS5', false);
  const warnings = skipped.map((name) => `${name} is not valid JSON and is left out of the node metadata`);
  if (booleanSetting(environment, 'FAKE_CA', false))
    warnings.push(
      'FAKE_CA=true has no effect: certificates come from CA_ADDRESS, as in release builds of ztunnel',
    );
  if (!proxyEnabled)
    warnings.push(
      'ENABLE_PROXY=false: no traffic is proxied; connections of pods that are captured are refused',
    );
  if (!proxyEnabled && !dnsProxyEnabled) {
    throw configError(
      'ENABLE_PROXY',
      'false',
      'with DNS capture off as well, nothing is left to run; turn one of them on',
    );
  }

  return {
    proxyEnabled,
    proxyMode,
    proxyWorkload: proxyMode === 'dedicated' ? readProxyWorkload(environment) : undefined,
    xdsAddress: xdsAddress(environment, proxyConfig.discoveryAddress),
    xdsRootCa: environment['XDS_ROOT_CA'] ?? `${root}/var/run/secrets/istio/root-cert.pem`,
    alternativeXdsHostname: textSetting(environment, 'ALT_XDS_HOSTNAME'),
    xdsOnDemand,
    xdsHeaders: headersOf(environment, 'XDS_HEADER_'),
    caAddress: caAddress(environment),
    caRootCa: environment['CA_ROOT_CA'] ?? `${root}/var/run/secrets/istio/root-cert.pem`,
    alternativeCaHostname: textSetting(environment, 'ALT_CA_HOSTNAME'),
    caHeaders: headersOf(environment, 'CA_HEADER_'),
    authToken: textSetting(environment, 'AUTH_TOKEN'),
    localMesh: readLocalMesh(environment),
    routesHttpByConnection: readHttpRoutes(environment),
    network: environment['NETWORK'] ?? '',
    nodeName: environment['NODE_NAME'] ?? '',
    clusterId:
      textSetting(environment, 'ISTIO_META_CLUSTER_ID') ??
      textSetting(environment, 'CLUSTER_ID') ??
      'Kubernetes',
    clusterDomain: environment['CLUSTER_DOMAIN'] ?? 'cluster.local',
    packetMark: readPacketMark(environment, proxyMode),
    zdsSocket: environment['INPOD_UDS'] ?? '/var/run/ztunnel/ztunnel.sock',
    inpodPortReuse: booleanSetting(environment, 'INPOD_PORT_REUSE', true),
    secretTtlMilliseconds: durationSetting(environment, 'SECRET_TTL', 86_400_000),
    workerThreads: workerThreads(
      environment,
      proxyConfig.concurrency,
      sources.cores ?? availableParallelism(),
    ),
    poolMaxStreamsPerConnection: integerSetting(
      environment,
      'POOL_MAX_STREAMS_PER_CONNECTION',
      100,
      1,
      65_535,
    ),
    poolUnusedReleaseMilliseconds: timerSetting(environment, 'POOL_UNUSED_RELEASE_TIMEOUT', 300_000),
    podDescriptors:
      environment['KMESH_POD_DESCRIPTORS'] === undefined
        ? undefined
        : integerSetting(environment, 'KMESH_POD_DESCRIPTORS', 0, 16, 0x7fff_ffff),
    podLogLines: integerSetting(environment, 'KMESH_POD_LOG_LINES', 2_000, 1, 1_000_000),
    podSeries: integerSetting(environment, 'KMESH_POD_SERIES', 40_000, 100, 10_000_000),
    drainMilliseconds: drainDeadline(environment),
    originalSource: optionalBoolean(environment, 'ENABLE_ORIG_SRC'),
    ipv6Enabled: booleanSetting(environment, 'IPV6_ENABLED', true) && !loopbackIpv6Disabled(),
    http2: {
      streamWindowBytes: sizeSetting(environment, 'HTTP2_STREAM_WINDOW_SIZE', {
        ...{ byDefault: 4 * mebibyte, minimum: 1, maximum: 0x7fffffff, warnings },
      }),
      // SETTINGS frames cannot make the connection window smaller than its initial size.
      connectionWindowBytes: sizeSetting(environment, 'HTTP2_CONNECTION_WINDOW_SIZE', {
        ...{ byDefault: 16 * mebibyte, minimum: 65_535, maximum: 0x7fffffff, warnings },
      }),
      frameBytes: sizeSetting(environment, 'HTTP2_FRAME_SIZE', {
        ...{ byDefault: mebibyte, minimum: 16_384, maximum: 0xffffff, warnings },
      }),
    },
    keepalive: {
      enabled: booleanSetting(environment, 'KEEPALIVE_ENABLED', true),
      timeMilliseconds: timerSetting(environment, 'KEEPALIVE_TIME', 180_000),
      intervalMilliseconds: timerSetting(environment, 'KEEPALIVE_INTERVAL', 180_000),
      retries: integerSetting(environment, 'KEEPALIVE_RETRIES', 9, 1, 127),
      userTimeoutEnabled: booleanSetting(environment, 'USER_TIMEOUT_ENABLED', false),
    },
    socks5Enabled,
    crlPath: textSetting(environment, 'CRL_PATH'),
    dnsProxyEnabled,
    resolvConf: textSetting(environment, 'KMESH_RESOLV_CONF') ?? '/etc/resolv.conf',
    dnsProxyAddress: dnsProxyAddress(String(metadata['DNS_PROXY_ADDR'] ?? 'localhost:15053')),
    preferredServiceNamespace: textSetting(environment, 'PREFERED_SERVICE_NAMESPACE'),
    localhostAppTunnel: booleanSetting(environment, 'LOCALHOST_APP_TUNNEL', true),
    responseBaggageEnabled: booleanSetting(environment, 'ENABLE_RESPONSE_BAGGAGE', true),
    podName: environment['POD_NAME'] ?? '',
    podNamespace: environment['POD_NAMESPACE'] ?? '',
    serviceAccount: environment['SERVICE_ACCOUNT'] ?? '',
    trustDomain: environment['TRUST_DOMAIN'] ?? 'cluster.local',
    instanceIp: environment['INSTANCE_IP'] ?? '1.1.1.1',
    istioVersion: environment['ISTIO_META_ISTIO_VERSION'] ?? 'unknown',
    metadata,
    policyInfoLogging: environment['AUTHZ_POLICY_INFO_LOGGING'] === 'true',
    postQuantumOnly: readCompliancePolicy(environment, warnings),
    tls12Enabled: environment['TLS12_ENABLED'] === 'true',
    logFilter: environment['RUST_LOG'] ?? 'info',
    logFormat: environment['LOG_FORMAT'] === 'json' ? 'json' : 'plain',
    adminPort: proxyConfig.proxyAdminPort ?? 15000,
    statsPort: proxyConfig.statsPort ?? 15020,
    readinessPort: 15021,
    kernelPath: {
      enabled: booleanSetting(environment, 'KMESH_KERNEL_PATH', true),
      cgroup: textSetting(environment, 'KMESH_CGROUP'),
      pins,
      handoff: optionalBoolean(environment, 'KMESH_HANDOFF') ?? pins !== undefined,
      leaseMilliseconds: readLease(environment),
      sameNode: readSameNode(environment),
      nodeNamespace: textSetting(environment, 'KMESH_NODE_NAMESPACE'),
    },
    illegalPorts: [15001, 15006, 15008, ...(socks5Enabled ? [15080] : [])],
    proxyArguments: (sources.arguments ?? []).join(' '),
    warnings,
  };
}

/** A shorter lease could end while the daemon is merely busy. */
const shortestLeaseMilliseconds = 1_000;

function readLease(environment: Environment): number {
  const milliseconds = durationSetting(environment, 'KMESH_LEASE', 60_000);
  if (milliseconds >= shortestLeaseMilliseconds) return milliseconds;
  throw configError('KMESH_LEASE', environment['KMESH_LEASE'] ?? '', 'a second or more, such as 60s');
}

function readSameNode(environment: Environment): 'attested' | 'mtls' {
  const value = textSetting(environment, 'KMESH_SAME_NODE') ?? 'attested';
  if (value === 'attested' || value === 'mtls') return value;
  throw configError('KMESH_SAME_NODE', value, 'attested or mtls');
}

function readHttpRoutes(environment: Environment): boolean {
  const value = textSetting(environment, 'KMESH_HTTP_ROUTES') ?? 'off';
  if (value === 'off' || value === 'by-connection') return value !== 'off';
  throw configError(
    'KMESH_HTTP_ROUTES',
    value,
    'off, or by-connection: HTTP routes with only weights split connections; a connection stays with one backend',
  );
}

/** Refuses removed settings: if they were ignored, the user would not learn what the daemon does instead. */
function refuseRemoved(environment: Environment): void {
  for (const [name, instead] of Object.entries(removedSettings)) {
    if (environment[name] !== undefined)
      throw new KmeshError('KMESH_CONFIG_INVALID', `${name} is set, but was removed: ${instead}; unset it`);
  }
}

function readProxyMode(environment: Environment): 'shared' | 'dedicated' {
  const text = environment['PROXY_MODE'];
  if (text === undefined || text === 'shared') return 'shared';
  if (text === 'dedicated') return 'dedicated';
  throw configError('PROXY_MODE', text, 'shared or dedicated is allowed');
}

function readProxyWorkload(environment: Environment): Config['proxyWorkload'] {
  const text = environment['PROXY_WORKLOAD_INFO'] ?? '';
  const [namespace, name, serviceAccount, ...rest] = text.split('/');
  if (!namespace || !name || !serviceAccount || rest.length > 0) {
    throw configError('PROXY_WORKLOAD_INFO', text, 'dedicated mode needs namespace/name/service-account');
  }
  return { namespace, name, serviceAccount };
}

function readLocalMesh(environment: Environment): Config['localMesh'] {
  const path = textSetting(environment, 'LOCAL_XDS_PATH');
  const inline = textSetting(environment, 'LOCAL_XDS');
  if (path !== undefined && inline !== undefined) {
    throw configError('LOCAL_XDS', '…', 'only one of LOCAL_XDS and LOCAL_XDS_PATH may be set');
  }
  if (path !== undefined) return { path };
  return inline === undefined ? undefined : { inline };
}

function readPacketMark(environment: Environment, proxyMode: Config['proxyMode']): number | undefined {
  if (environment['PACKET_MARK'] === undefined) return proxyMode === 'shared' ? 1337 : undefined;
  return integerSetting(environment, 'PACKET_MARK', 0, 0, 0xffffffff);
}

/** Returns whether only X25519MLKEM768 is used. Warns of policies without effect (ambient contract 2.2, 6.1). */
function readCompliancePolicy(environment: Environment, warnings: string[]): boolean {
  const text = textSetting(environment, 'COMPLIANCE_POLICY');
  if (text === undefined || text === 'pqc') return text === 'pqc';
  const fips = /^fips-140-[23]$/.test(text);
  warnings.push(
    `COMPLIANCE_POLICY=${text} ${fips ? 'is not enforced' : 'is an unknown policy and has no effect'}: ` +
      'TLS stays mutual TLS 1.3 with AES-GCM suites only' +
      (fips
        ? ', by an OpenSSL that is not a validated module and with key exchanges that FIPS does not list'
        : '') +
      '; only the policy pqc has an effect',
  );
  return false;
}

/**
 * Returns extra gRPC metadata from `<prefix><name>` variables.
 *
 * @throws KMESH_CONFIG_INVALID for a name or value that gRPC cannot send
 */
function headersOf(environment: Environment, prefix: string): Readonly<Record<string, string>> {
  const headers: Record<string, string> = {};
  for (const [variable, value] of Object.entries(environment)) {
    if (value === undefined || !variable.startsWith(prefix)) continue;
    const name = variable.slice(prefix.length).toLowerCase();
    if (!/^[0-9a-z_.-]+$/.test(name) || name.endsWith('-bin') || unsendableHeaders.has(name)) {
      throw configError(
        variable,
        '…',
        `what follows ${prefix} must be the name of a text header: letters, digits, "_", "-" and ".", ` +
          'not ending in "-bin", and none that HTTP/2 or gRPC sets itself',
      );
    }
    if (!/^[ -~]*$/.test(value))
      throw configError(variable, '…', 'a header value of printable ASCII characters is allowed');
    headers[name] = value;
  }
  return headers;
}

/** Headers that belong to the connection or to gRPC itself. */
const unsendableHeaders: ReadonlySet<string> = new Set([
  ...['connection', 'host', 'keep-alive', 'proxy-connection', 'transfer-encoding', 'upgrade'],
  ...['te', 'content-length', 'content-type', 'grpc-timeout', 'grpc-encoding'],
]);

function loopbackIpv6Disabled(): boolean {
  try {
    return readFileSync('/proc/sys/net/ipv6/conf/lo/disable_ipv6', 'utf8').trim() === '1';
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return true;
    throw new KmeshError(
      'KMESH_CONFIG_INVALID',
      `cannot determine whether IPv6 is enabled: ${String(error)}`,
      {
        cause: error,
      },
    );
  }
}
