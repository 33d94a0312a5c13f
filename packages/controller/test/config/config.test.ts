import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { isKmeshError } from '@kmesh/api';
import { readConfig } from '../../src/config/config.ts';
import { configDump } from '../../src/config/dump.ts';
import type { Environment } from '../../src/config/values.ts';

const read = (environment: Environment, cores = 8) =>
  readConfig(environment, { root: '/nonexistent', cores });

const refuses = (environment: Environment, ...mentions: string[]): void => {
  assert.throws(
    () => read(environment),
    (error: unknown) => {
      assert.ok(isKmeshError(error, 'KMESH_CONFIG_INVALID'));
      for (const mention of mentions) assert.ok(error.message.includes(mention), error.message);
      return true;
    },
  );
};

const meshRoot = (mesh: string): Disposable & { path: string } => {
  const path = mkdtempSync(join(tmpdir(), 'kmesh-config-'));
  mkdirSync(join(path, 'etc/istio/config'), { recursive: true });
  writeFileSync(join(path, 'etc/istio/config/mesh'), mesh);
  return { path, [Symbol.dispose]: () => rmSync(path, { recursive: true }) };
};

test('an empty environment gives the defaults of the contract', () => {
  const config = read({});
  assert.equal(config.xdsAddress, 'https://localhost:15012');
  assert.equal(config.zdsSocket, '/var/run/ztunnel/ztunnel.sock');
  assert.equal(config.packetMark, 1337);
  assert.equal(config.clusterId, 'Kubernetes');
  assert.equal(config.instanceIp, '1.1.1.1');
  assert.equal(config.secretTtlMilliseconds, 86_400_000);
  assert.deepEqual(config.illegalPorts, [15001, 15006, 15008]);
  assert.deepEqual([config.adminPort, config.statsPort, config.readinessPort], [15000, 15020, 15021]);
});

for (const [environment, expected] of [
  [{ TERMINATION_GRACE_PERIOD_SECONDS: '30' }, 25_000],
  [{ TERMINATION_GRACE_PERIOD_SECONDS: '11' }, 6_000],
  [{ TERMINATION_GRACE_PERIOD_SECONDS: '10' }, 9_000],
  [{ TERMINATION_GRACE_PERIOD_SECONDS: '1' }, 1_000],
  [{}, 5_000],
  [{ CONNECTION_TERMINATION_DEADLINE: '2m', TERMINATION_GRACE_PERIOD_SECONDS: '30' }, 120_000],
] as const) {
  test(`PRC-11: ${JSON.stringify(environment)} drains within ${expected} ms`, () => {
    assert.equal(read(environment).drainMilliseconds, expected);
  });
}

for (const [environment, expected] of [
  [{ ZTUNNEL_WORKER_THREADS: '4' }, 4],
  [{ ZTUNNEL_WORKER_THREADS: '50%' }, 4],
  [{ ZTUNNEL_WORKER_THREADS: '0' }, 8],
  [{ ZTUNNEL_WORKER_THREADS: '12.5%' }, 1],
  [{ ZTUNNEL_WORKER_THREADS: '62.5%' }, 5],
  [{ ZTUNNEL_WORKER_THREADS: '0.1%' }, 1],
  [{ ZTUNNEL_WORKER_THREADS: '50%', ZTUNNEL_CPU_LIMIT: '0' }, 1],
  [{ ZTUNNEL_CPU_LIMIT: '0' }, 2],
  [{ ZTUNNEL_RESOURCE_CPU_REQUEST: '0' }, 2],
  [{ ZTUNNEL_WORKER_THREADS: '0', ZTUNNEL_RESOURCE_CPU_LIMIT: '2' }, 8],
  [{ ZTUNNEL_RESOURCE_CPU_LIMIT: '1500m' }, 2],
  [{ ZTUNNEL_RESOURCE_CPU_REQUEST: '6' }, 6],
  [{ PROXY_CONFIG: 'concurrency: 3' }, 3],
  [{ PROXY_CONFIG: 'concurrency: 0' }, 8],
] as const) {
  test(`PRC-12: ${JSON.stringify(environment)} on 8 cores is ${expected} threads`, () => {
    assert.equal(read(environment).workerThreads, expected);
  });
}

for (const value of ['101%', '0%', '-1', '1.5', '%', '', 'abc', '4294967296']) {
  test(`PRC-12: ZTUNNEL_WORKER_THREADS=${value} is refused`, () =>
    refuses({ ZTUNNEL_WORKER_THREADS: value }, 'ZTUNNEL_WORKER_THREADS', value));
}

for (const [name, instead] of [
  ['KMESH_REDIRECT', 'plain TCP'],
  ['KMESH_PASSTHROUGH_JOIN', 'copy the bytes'],
  ['KMESH_WITHOUT', 'are probed at start'],
  ['KMESH_HOOK_STATISTICS', 'kernel.bpf_stats_enabled'],
] as const) {
  test(`the removed setting ${name} is refused, and the error names its replacement`, () => {
    for (const value of ['true', 'false', '']) refuses({ [name]: value }, name, 'was removed', instead);
  });
}

for (const value of ['1', 'True', 'yes', '']) {
  test(`PRC-13: a boolean spelled ${JSON.stringify(value)} is refused by name`, () => {
    refuses({ INPOD_PORT_REUSE: value }, 'INPOD_PORT_REUSE', 'true and false');
    refuses({ ENABLE_ORIG_SRC: value }, 'ENABLE_ORIG_SRC');
  });
}

test('PRC-14: a variable overrides PROXY_CONFIG, which overrides the mesh file', () => {
  using root = meshRoot('defaultConfig:\n  proxyMetadata: { FOO: file, BAR: file, BAZ: file }\n');
  const config = readConfig(
    { PROXY_CONFIG: 'proxyMetadata: { FOO: config, BAR: config }', ISTIO_META_FOO: 'variable' },
    { root: root.path },
  );
  assert.deepEqual(
    ['FOO', 'BAR', 'BAZ'].map((key) => config.metadata[key]),
    ['variable', 'config', 'file'],
  );
});

test('XDS-02: ISTIO_METAJSON values are parsed, and bad JSON is skipped with a warning', () => {
  const config = read({
    ISTIO_METAJSON_NULL: 'null',
    ISTIO_METAJSON_LIST: '[1, true, {"a": "b"}]',
    ISTIO_METAJSON_BAD: '{',
  });
  assert.equal(config.metadata['NULL'], null);
  assert.deepEqual(config.metadata['LIST'], [1, true, { a: 'b' }]);
  assert.ok(!('BAD' in config.metadata));
  assert.match(config.warnings.join(), /ISTIO_METAJSON_BAD/);
});

test('PRC-15: an xDS address without a scheme gets https://, another scheme is kept, and an empty address turns xDS off', () => {
  assert.equal(read({ XDS_ADDRESS: 'istiod:15012' }).xdsAddress, 'https://istiod:15012');
  assert.equal(read({ XDS_ADDRESS: 'http://x:1' }).xdsAddress, 'http://x:1');
  assert.equal(read({ XDS_ADDRESS: '' }).xdsAddress, undefined);
  refuses({ XDS_ADDRESS: 'https://' }, 'XDS_ADDRESS');
  refuses({ XDS_ADDRESS: 'ftp://x:1' }, 'XDS_ADDRESS');
});

test('PRC-16: settings that contradict each other stop the start', () => {
  refuses({ LOCAL_XDS: 'a', LOCAL_XDS_PATH: 'b' }, 'LOCAL_XDS_PATH');
  refuses({ ENABLE_PROXY: 'false', ISTIO_META_DNS_CAPTURE: 'false' }, 'ENABLE_PROXY');
  refuses({ PROXY_MODE: 'dedicated' }, 'PROXY_WORKLOAD_INFO');
  refuses({ PROXY_MODE: 'other' }, 'PROXY_MODE', 'other');
});

test('PRC-21: a DNS proxy address that cannot be parsed stops the start', () => {
  refuses({ ISTIO_META_DNS_PROXY_ADDR: 'nowhere' }, 'ISTIO_META_DNS_PROXY_ADDR', 'nowhere');
  assert.deepEqual(read({ ISTIO_META_DNS_PROXY_ADDR: '[::1]:53' }).dnsProxyAddress, {
    host: '::1',
    port: 53,
  });
});

test('PRC-22: an empty CA_ADDRESS stops the start with a clear message', () => {
  refuses({ CA_ADDRESS: '' }, 'CA_ADDRESS', 'must not be empty');
});

test('PRC-23: discoveryAddress is for xDS, not for the certificate authority', () => {
  const config = read({
    PROXY_CONFIG: 'discoveryAddress: pilot:15012',
    KUBERNETES_SERVICE_HOST: '10.96.0.1',
  });
  assert.equal(config.xdsAddress, 'https://pilot:15012');
  assert.equal(config.caAddress, 'https://istiod.istio-system.svc:15012');
});

test('the mesh file sets the ports, and a bad value in it is named', () => {
  using root = meshRoot('defaultConfig:\n  proxyAdminPort: 1\n  statsPort: 2\n');
  const config = readConfig({}, { root: root.path });
  assert.deepEqual([config.adminPort, config.statsPort], [1, 2]);
  using bad = meshRoot('defaultConfig:\n  statsPort: many\n');
  assert.throws(() => readConfig({}, { root: bad.path }), /statsPort is "many"/);
});

test('headers for xDS and the certificate authority come from the environment', () => {
  const config = read({ XDS_HEADER_FOO: 'bar', CA_HEADER_X: 'y' });
  assert.deepEqual(config.xdsHeaders, { foo: 'bar' });
  assert.deepEqual(config.caHeaders, { x: 'y' });
});

test('the dumped configuration never holds the token, an inline mesh or inline roots', () => {
  const secret = 'very-secret';
  const dump = JSON.stringify(
    configDump(
      read({
        AUTH_TOKEN: secret,
        LOCAL_XDS: secret,
        XDS_ROOT_CA: `-----BEGIN ${secret}`,
        XDS_HEADER_KEY: secret,
      }),
    ),
  );
  assert.ok(!dump.includes(secret));
});
