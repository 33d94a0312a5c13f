import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { isKmeshError } from '@kmesh/api';
import { type Config, readConfig } from '../../src/config/config.ts';
import { settingsGroups } from '../../src/config/settings.ts';

/** One variable of ambient contract 2.2: accepted values with their results, and refused ones. */
interface Setting {
  readonly of: (config: Config) => unknown;
  /** The default. */
  readonly byDefault: unknown;
  readonly taken?: Readonly<Record<string, unknown>>;
  /** Values that are accepted with a warning that names the variable. */
  readonly warned?: Readonly<Record<string, unknown>>;
  readonly refused?: readonly string[];
  /** Other variables that must be set with it. */
  readonly along?: Readonly<Record<string, string>>;
}

const root = '/nonexistent';
const rootFile = `${root}/var/run/secrets/istio/root-cert.pem`;
const hour = 3_600_000;
const day = 24 * hour;
const booleans = { true: true, false: false };
const notBooleans = ['1', '0', 'yes', 'True', 'TRUE', ''];

const durations = {
  '180s': 180_000,
  '5m': 300_000,
  '90min': 90 * 60_000,
  '2 hours': 2 * hour,
  '1m*10': 600_000,
  '1h + 2m * 3': 3_720_000 * 3,
  '1500\u03bcs': 2,
  '1h30m': 1.5 * hour,
  '1h 30m': 1.5 * hour,
  '1m+30s': 90_000,
  '1w': 7 * day,
  '2d': 2 * day,
  '250ms': 250,
  '500us': 1,
  '1500µs': 2,
  '7ns': 1,
  '30': 30_000,
  '0': 0,
  '0s': 0,
} as const;
const notDurations = ['', 'soon', '5 parsecs', '-5s', '5m!', '1.5h', '*2', '2**3', '1m*', 's', '999999y'];

function text(of: Setting['of'], ...byDefault: unknown[]): Setting {
  return { of, byDefault: byDefault.length === 0 ? '' : byDefault[0], taken: { 'some-text': 'some-text' } };
}

function boolean(of: Setting['of'], byDefault: unknown): Setting {
  return { of, byDefault, taken: booleans, refused: notBooleans };
}

function duration(of: Setting['of'], byDefault: number): Setting {
  return { of, byDefault, taken: durations, refused: notDurations };
}

/** Variables of the daemon's environment; `*` is any name. */
const settings: Readonly<Record<string, Setting>> = {
  ENABLE_PROXY: {
    of: (config) => config.proxyEnabled,
    byDefault: true,
    taken: { true: true },
    warned: { false: false },
    refused: notBooleans,
  },
  KUBERNETES_SERVICE_HOST: {
    of: (config) => config.caAddress,
    byDefault: 'https://localhost:15012',
    taken: { '10.0.0.1': 'https://istiod.istio-system.svc:15012' },
  },
  XDS_ADDRESS: {
    of: (config) => config.xdsAddress,
    byDefault: 'https://localhost:15012',
    taken: { 'istiod:15012': 'https://istiod:15012', 'http://x:1': 'http://x:1', '': undefined },
    refused: ['https://', 'ftp://x:1', 'a b'],
  },
  CA_ADDRESS: {
    of: (config) => config.caAddress,
    byDefault: 'https://localhost:15012',
    taken: { 'istiod:15012': 'https://istiod:15012' },
    refused: ['', 'https://'],
  },
  NETWORK: text((config) => config.network),
  NODE_NAME: text((config) => config.nodeName),
  CLUSTER_DOMAIN: text((config) => config.clusterDomain, 'cluster.local'),
  ISTIO_META_CLUSTER_ID: text((config) => config.clusterId, 'Kubernetes'),
  CLUSTER_ID: text((config) => config.clusterId, 'Kubernetes'),
  PROXY_MODE: {
    of: (config) => config.proxyMode,
    byDefault: 'shared',
    taken: { shared: 'shared', dedicated: 'dedicated' },
    refused: ['', 'other', 'Shared'],
    along: { PROXY_WORKLOAD_INFO: 'ns/name/sa' },
  },
  PROXY_WORKLOAD_INFO: {
    of: (config) => config.proxyWorkload?.serviceAccount,
    byDefault: undefined,
    taken: { 'ns/name/sa': 'sa' },
    refused: ['', 'ns/name', 'ns/name/sa/more', '//'],
    along: { PROXY_MODE: 'dedicated' },
  },
  PACKET_MARK: {
    of: (config) => config.packetMark,
    byDefault: 1337,
    taken: { '1': 1, '+7': 7, '4294967295': 4294967295 },
    refused: ['-1', '0x539', '4294967296', ''],
  },
  INPOD_UDS: text((config) => config.zdsSocket, '/var/run/ztunnel/ztunnel.sock'),
  INPOD_PORT_REUSE: boolean((config) => config.inpodPortReuse, true),
  LOCAL_XDS_PATH: { of: (config) => config.localMesh, byDefault: undefined, taken: { '/f': { path: '/f' } } },
  LOCAL_XDS: { of: (config) => config.localMesh, byDefault: undefined, taken: { '{}': { inline: '{}' } } },
  XDS_ON_DEMAND: {
    ...boolean((config) => config.xdsOnDemand, false),
    along: { ISTIO_META_DNS_CAPTURE: 'false' },
  },
  PREFERED_SERVICE_NAMESPACE: text((config) => config.preferredServiceNamespace, undefined),
  SECRET_TTL: duration((config) => config.secretTtlMilliseconds, day),
  FAKE_CA: {
    of: (config) => config.caAddress,
    byDefault: 'https://localhost:15012',
    taken: { false: 'https://localhost:15012' },
    warned: { true: 'https://localhost:15012' },
    refused: notBooleans,
  },
  ZTUNNEL_WORKER_THREADS: {
    of: (config) => config.workerThreads,
    byDefault: 4,
    taken: { '3': 3, '0': 16, '12.5%': 2, '50%': 8, '100%': 16, '0.01%': 1, '1024': 1024 },
    refused: ['', '0%', '101%', '-1', '1.5', 'all', '1025'],
  },
  ZTUNNEL_RESOURCE_CPU_LIMIT: {
    of: (config) => config.workerThreads,
    byDefault: 4,
    taken: { '500m': 1, '1.5': 2, '3': 3, '2500000u': 3, '2e0': 2 },
    refused: ['', '0', '0m', '-1', 'many'],
  },
  ZTUNNEL_CPU_LIMIT: {
    of: (config) => config.workerThreads,
    byDefault: 4,
    taken: { '0': 2, '40': 10, '500m': 2 },
    refused: ['', 'many'],
  },
  ZTUNNEL_RESOURCE_CPU_REQUEST: {
    of: (config) => config.workerThreads,
    byDefault: 4,
    taken: { '0': 4, '6': 6, '4500m': 5 },
    refused: ['', 'many'],
  },
  POOL_MAX_STREAMS_PER_CONNECTION: {
    of: (config) => config.poolMaxStreamsPerConnection,
    byDefault: 100,
    taken: { '1': 1, '65535': 65535 },
    refused: ['0', '65536', 'x', ''],
  },
  POOL_UNUSED_RELEASE_TIMEOUT: duration((config) => config.poolUnusedReleaseMilliseconds, 300_000),
  CONNECTION_TERMINATION_DEADLINE: duration((config) => config.drainMilliseconds, 5_000),
  TERMINATION_GRACE_PERIOD_SECONDS: {
    of: (config) => config.drainMilliseconds,
    byDefault: 5_000,
    taken: { '30': 25_000, '10': 9_000, '1': 1_000, '99999999': 0x7fff_ffff },
    refused: ['', '-1', '5m'],
  },
  ENABLE_ORIG_SRC: boolean((config) => config.originalSource, undefined),
  PROXY_CONFIG: {
    of: (config) => config.workerThreads,
    byDefault: 4,
    taken: { 'concurrency: 3': 3, 'concurrency: 0': 16, '{"concurrency": 1}': 1, '': 4 },
    refused: ['concurrency: -1', 'concurrency: many', 'text', '['],
  },
  IPV6_ENABLED: {
    of: (config) => config.ipv6Enabled,
    byDefault: !readFileSync('/proc/sys/net/ipv6/conf/lo/disable_ipv6', 'utf8').startsWith('1'),
    taken: { false: false },
    refused: notBooleans,
  },
  HTTP2_STREAM_WINDOW_SIZE: {
    of: (config) => config.http2.streamWindowBytes,
    byDefault: 4 << 20,
    taken: { '32768': 32768, '65535': 65535, '2147483647': 0x7fffffff },
    warned: { '0': 1, '4294967295': 0x7fffffff },
    refused: ['-1', '4Mi', '4294967296', ''],
  },
  HTTP2_CONNECTION_WINDOW_SIZE: {
    of: (config) => config.http2.connectionWindowBytes,
    byDefault: 16 << 20,
    taken: { '65535': 65535 },
    warned: { '1024': 65535, '4294967295': 0x7fffffff },
    refused: ['-1', ''],
  },
  HTTP2_FRAME_SIZE: {
    of: (config) => config.http2.frameBytes,
    byDefault: 1 << 20,
    taken: { '16384': 16384, '16777215': 16777215 },
    warned: { '1024': 16384, '16777216': 16777215 },
    refused: ['-1', ''],
  },
  KEEPALIVE_ENABLED: boolean((config) => config.keepalive.enabled, true),
  KEEPALIVE_TIME: duration((config) => config.keepalive.timeMilliseconds, 180_000),
  KEEPALIVE_INTERVAL: duration((config) => config.keepalive.intervalMilliseconds, 180_000),
  KEEPALIVE_RETRIES: {
    of: (config) => config.keepalive.retries,
    byDefault: 9,
    taken: { '1': 1, '127': 127 },
    refused: ['0', '128', ''],
  },
  USER_TIMEOUT_ENABLED: boolean((config) => config.keepalive.userTimeoutEnabled, false),
  UNSTABLE_ENABLE_SOCKS5: boolean((config) => config.socks5Enabled, false),
  CRL_PATH: {
    of: (config) => config.crlPath,
    byDefault: undefined,
    taken: { '/crl': '/crl', '': undefined },
  },
  ISTIO_META_DNS_CAPTURE: {
    of: (config) => config.dnsProxyEnabled,
    byDefault: true,
    taken: { true: true, TRUE: true, false: false, other: false },
  },
  ISTIO_META_DNS_PROXY_ADDR: {
    of: (config) => config.dnsProxyAddress.port,
    byDefault: 15053,
    taken: { 'localhost:53': 53, '127.0.0.1:54': 54, '[::1]:55': 55 },
    refused: ['nowhere', '127.0.0.1', 'localhost:99999'],
  },
  'XDS_HEADER_*': {
    of: (config) => config.xdsHeaders['x-some_name.1'],
    byDefault: undefined,
    taken: { '': '', 'some text': 'some text' },
    refused: ['two\nlines', 'tab\t', 'ümlaut', '\0'],
  },
  'CA_HEADER_*': {
    of: (config) => config.caHeaders['x-some_name.1'],
    byDefault: undefined,
    taken: { 'some text': 'some text' },
    refused: ['two\r\nlines'],
  },
  XDS_ROOT_CA: { ...text((config) => config.xdsRootCa, rootFile) },
  CA_ROOT_CA: { ...text((config) => config.caRootCa, rootFile) },
  ALT_XDS_HOSTNAME: text((config) => config.alternativeXdsHostname, undefined),
  ALT_CA_HOSTNAME: text((config) => config.alternativeCaHostname, undefined),
  AUTH_TOKEN: text((config) => config.authToken, undefined),
  LOCALHOST_APP_TUNNEL: boolean((config) => config.localhostAppTunnel, true),
  ENABLE_RESPONSE_BAGGAGE: boolean((config) => config.responseBaggageEnabled, true),
  POD_NAME: text((config) => config.podName),
  POD_NAMESPACE: text((config) => config.podNamespace),
  SERVICE_ACCOUNT: text((config) => config.serviceAccount),
  TRUST_DOMAIN: text((config) => config.trustDomain, 'cluster.local'),
  INSTANCE_IP: text((config) => config.instanceIp, '1.1.1.1'),
  'ISTIO_META_*': text((config) => config.metadata['X-SOME_NAME.1'], undefined),
  'ISTIO_METAJSON_*': {
    of: (config) => config.metadata['X-SOME_NAME.1'],
    byDefault: undefined,
    taken: { '[1, null]': [1, null] },
    warned: { '{': undefined },
  },
  ISTIO_META_ISTIO_VERSION: text((config) => config.istioVersion, 'unknown'),
  AUTHZ_POLICY_INFO_LOGGING: {
    of: (config) => config.policyInfoLogging,
    byDefault: false,
    taken: { true: true, false: false, other: false },
  },
  COMPLIANCE_POLICY: {
    of: (config) => config.postQuantumOnly,
    byDefault: false,
    taken: { pqc: true, '': false },
    warned: { 'fips-140-2': false, 'fips-140-3': false, 'some-other': false },
  },
  TLS12_ENABLED: {
    of: (config) => config.tls12Enabled,
    byDefault: false,
    taken: { true: true, false: false, other: false },
  },
  RUST_LOG: text((config) => config.logFilter, 'info'),
  LOG_FORMAT: {
    of: (config) => config.logFormat,
    byDefault: 'plain',
    taken: { json: 'json', other: 'plain' },
  },
};

const read = (environment: Record<string, string>) => readConfig(environment, { root, cores: 16 });

for (const [variable, setting] of Object.entries(settings)) {
  const name = variable.replace('*', 'X-SOME_NAME.1');
  test(`setting ${variable}`, () => {
    assert.deepEqual(setting.of(read({})), setting.byDefault, 'by default');
    for (const [value, expected] of Object.entries(setting.taken ?? {})) {
      const config = read({ ...setting.along, [name]: value });
      assert.deepEqual(setting.of(config), expected, JSON.stringify(value));
      assert.deepEqual(config.warnings, [], JSON.stringify(value));
    }
    for (const [value, expected] of Object.entries(setting.warned ?? {})) {
      const config = read({ ...setting.along, [name]: value });
      assert.deepEqual(setting.of(config), expected, JSON.stringify(value));
      assert.equal(config.warnings.length, 1, JSON.stringify(value));
      assert.ok(config.warnings.join().includes(name), name);
    }
    for (const value of setting.refused ?? []) {
      assert.throws(
        () => read({ ...setting.along, [name]: value }),
        (error: unknown) => isKmeshError(error, 'KMESH_CONFIG_INVALID') && error.message.includes(name),
        `${name}=${JSON.stringify(value)}`,
      );
    }
  });
}

test('variables that charts set and no ztunnel reads have no effect', () => {
  for (const name of ['INPOD_ENABLED', 'RUST_BACKTRACE']) {
    for (const value of ['', 'true', 'full', '%']) assert.deepEqual(read({ [name]: value }), read({}));
  }
});

test('an invalid header is refused with the name of its variable and without its value', () => {
  const names = ['', 'a b', 'é', 'key-bin', ':path', 'Host', 'Content-Length', 'TE', 'a\n', 'a:'];
  for (const prefix of ['XDS_HEADER_', 'CA_HEADER_']) {
    for (const name of names) {
      assert.throws(
        () => read({ [prefix + name]: 'secret' }),
        (error: unknown) =>
          isKmeshError(error, 'KMESH_CONFIG_INVALID') &&
          error.message.includes(prefix) &&
          !error.message.includes('secret'),
        name,
      );
    }
    assert.throws(() => read({ [`${prefix}A`]: 'secret\n' }), /printable ASCII/);
  }
});

test('the warning about a compliance policy names what is in force and what is not', () => {
  for (const policy of ['fips-140-2', 'fips-140-3']) {
    const [warning = ''] = read({ COMPLIANCE_POLICY: policy }).warnings;
    assert.match(
      warning,
      new RegExp(`${policy} is not enforced.*TLS 1.3.*AES-GCM.*not a validated module.*pqc`),
    );
  }
  assert.match(read({ COMPLIANCE_POLICY: 'x' }).warnings[0] ?? '', /an unknown policy/);
});

test('a duration longer than a timer can wait ends after the longest wait, not at once', () => {
  const config = read({
    CONNECTION_TERMINATION_DEADLINE: '1y',
    POOL_UNUSED_RELEASE_TIMEOUT: '30 days',
    SECRET_TTL: '30d',
  });
  assert.equal(config.drainMilliseconds, 0x7fff_ffff);
  assert.equal(config.poolUnusedReleaseMilliseconds, 0x7fff_ffff);
  assert.equal(config.secretTtlMilliseconds, 30 * day);
});

test('every variable that is read is in docs/settings.md, and every one there is read', () => {
  const named = settingsGroups.flatMap(({ rows }) => rows.flatMap(({ names }) => names));
  const covers = (name: string, variable: string): boolean =>
    name.endsWith('*') ? variable.startsWith(name.slice(0, -1)) : name === variable;
  const readNames = new Set(Object.keys(settings));
  const spied = (values: Record<string, string>): Record<string, string> =>
    new Proxy(values, {
      get(target, name: string) {
        readNames.add(name);
        return target[name];
      },
    });
  read(spied({}));
  read(spied({ PROXY_MODE: 'dedicated', PROXY_WORKLOAD_INFO: 'ns/name/sa' }));
  const removed = ['KMESH_REDIRECT', 'KMESH_PASSTHROUGH_JOIN', 'KMESH_WITHOUT', 'KMESH_HOOK_STATISTICS'];
  for (const variable of readNames)
    assert.ok(
      removed.includes(variable) || named.some((name) => covers(name, variable)),
      `${variable} is not there`,
    );
  for (const name of named)
    assert.ok(
      [...readNames].some((variable) => covers(name, variable)) || name.endsWith('_*'),
      `${name} is not read`,
    );
});
