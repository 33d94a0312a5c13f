import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { type ChartValues, type Volume, ztunnelDaemonSet } from '@kmesh/lab/testing/install/ztunnel-chart.ts';
import { parse } from 'yaml';
import { imageConfig } from '../../scripts/image/image-config.ts';

const integration = new URL('../../istio-integration/', import.meta.url);
const text = (path: string): string => readFileSync(new URL(path, integration), 'utf8');
const yaml = <T>(path: string): T => parse(text(path)) as T;
const { version, kmesh } = JSON.parse(
  readFileSync(fileURLToPath(new URL('../../package.json', import.meta.url)), 'utf8'),
) as { version: string; kmesh: { istioVersion: string } };

interface Profile {
  readonly spec: {
    readonly profile: string;
    readonly components: object;
    readonly values: { readonly ztunnel: ChartValues };
  };
}

const profile = yaml<Profile>('profiles/kmesh.yaml').spec;
const values = yaml<ChartValues>('values/ztunnel.yaml');
/** Values that the chart reads (contract 20.2). */
const chartKeys = ['image', 'env', 'volumes', 'volumeMounts', 'resources'];

test('IST-01: the profile changes the node proxy of the ambient profile and nothing else', () => {
  assert.equal(profile.profile, 'ambient');
  assert.deepEqual(Object.keys(profile.values), ['ztunnel']);
  for (const key of Object.keys(profile.values.ztunnel)) assert.ok(chartKeys.includes(key), key);
});

test("IST-01: beside chart values the profile adds one capability, which gives access to the node's namespace below /proc", () => {
  const path = 'spec.template.spec.containers.[name:istio-proxy].securityContext.capabilities.add.[-1]';
  const overlay = { kind: 'DaemonSet', name: 'ztunnel', patches: [{ path, value: 'SYS_PTRACE' }] };
  assert.deepEqual(profile.components, { ztunnel: { k8s: { overlays: [overlay] } } });
});

test('no volume is a symbolic link of the host: container runtimes resolve it to something that is not a path', () => {
  for (const { name, hostPath } of values.volumes ?? [])
    assert.doesNotMatch(hostPath?.path ?? '', /^\/proc\/.+\/(?:ns|fd|root|cwd|exe)\b/, name);
});

test('IST-01: profile and chart values are the same', () => {
  assert.deepEqual(values, profile.values.ztunnel);
});

test('IST-01: the image is a full reference of this version, so that no variant or hub changes it', () => {
  for (const file of ['values/ztunnel.yaml', 'values/ztunnel-tunnel-path.yaml'])
    assert.equal(yaml<ChartValues>(file).image, `docker.io/kmesh/kmesh:${version}`, file);
});

describe('the DaemonSet of these values', () => {
  const { metadata, spec } = ztunnelDaemonSet(values);
  const pod = spec.template.spec;
  const [container] = pod.containers;

  test('IST-11, IST-17, KME-08: it keeps the names by which istiod, istioctl, the CNI agent, Kiali and the dashboards identify it', () => {
    assert.equal(metadata.name, 'ztunnel');
    assert.equal(pod.serviceAccountName, 'ztunnel');
    assert.deepEqual(spec.selector.matchLabels, { app: 'ztunnel' });
    assert.equal(container?.name, 'istio-proxy');
    assert.deepEqual(container?.ports, [{ containerPort: 15020, name: 'ztunnel-stats', protocol: 'TCP' }]);
    assert.equal(spec.template.metadata.annotations['prometheus.io/port'], '15020');
  });

  test('IST-15, KME-18: a rollout surges by one instance, with none unavailable', () => {
    assert.deepEqual(spec.updateStrategy.rollingUpdate, { maxSurge: 1, maxUnavailable: 0 });
    assert.ok(pod.terminationGracePeriodSeconds >= 30);
  });

  test('IST-27: the proxy itself is not captured', () => {
    assert.equal(spec.template.metadata.labels['istio.io/dataplane-mode'], 'none');
  });

  test('IST-01: it requests no capability, privilege or host namespace beyond the stock ones', () => {
    const stock = ztunnelDaemonSet({ image: values.image }).spec.template.spec;
    assert.deepEqual(container?.securityContext, stock.containers[0]?.securityContext);
    assert.deepEqual(Object.keys(pod).sort(), Object.keys(stock).sort());
  });

  test('IST-01: every mount has its volume of the host, and is read-only except for the BPF file system', () => {
    const volumes = new Map<string, Volume>(pod.volumes.map((volume) => [volume.name, volume]));
    assert.equal(volumes.size, pod.volumes.length, 'a name is used twice');
    for (const mount of values.volumeMounts ?? []) {
      assert.ok(volumes.get(mount.name)?.hostPath, mount.name);
      assert.equal(mount.readOnly === true, mount.mountPath !== '/sys/fs/bpf', mount.mountPath);
      // Only a privileged container may have this setting.
      assert.notEqual(mount.mountPropagation, 'Bidirectional');
    }
  });

  test('IST-01: settings point at mounts', () => {
    const paths = (values.volumeMounts ?? []).map(({ mountPath }) => mountPath);
    for (const name of ['KMESH_CGROUP', 'KMESH_PINS'])
      assert.ok(
        paths.some((path) => values.env?.[name]?.startsWith(path)),
        name,
      );
  });
});

test('IST-11: the image names the Istio version that dashboards and istioctl show', () => {
  assert.ok(
    imageConfig(version, kmesh.istioVersion).Env.includes(`ISTIO_META_ISTIO_VERSION=${kmesh.istioVersion}`),
  );
});

test('IST-01: the Dockerfile and the OCI layout describe the same image', () => {
  const config = imageConfig(version, kmesh.istioVersion);
  const lines = text('image/Dockerfile')
    .split('\n')
    .filter((line) => line !== '' && !line.startsWith('#'));
  assert.deepEqual(lines, [
    'FROM scratch',
    'COPY rootfs/ /',
    ...config.Env.map((variable) => `ENV ${variable}`),
    ...Object.entries(config.Labels).map(([name, value]) => `LABEL ${name}="${value}"`),
    `USER ${config.User}`,
    `WORKDIR ${config.WorkingDir}`,
    `ENTRYPOINT ${JSON.stringify(config.Entrypoint)}`,
  ]);
});

test('IST-01: the network policy admits the ports of the contract, TCP and UDP, and all outbound traffic', () => {
  const policy = yaml<{
    spec: { ingress: { ports: { port: number; protocol: string }[] }[]; egress: object[] };
  }>('manifests/network-policy.yaml');
  const ports = policy.spec.ingress.flatMap((rule) =>
    rule.ports.map(({ port, protocol }) => `${port}/${protocol}`),
  );
  const expected = ['15021', '15020', '15000', '15008', '15001', '15006', '15053'].map(
    (port) => `${port}/TCP`,
  );
  assert.deepEqual(ports.sort(), [...expected, '15053/UDP'].sort());
  assert.deepEqual(policy.spec.egress, [{}]);
});

test('KME-08: the PodMonitor selects the pods of the DaemonSet and a port that they have', () => {
  const { spec } = yaml<{
    spec: { selector: { matchLabels: object }; podMetricsEndpoints: { port: string; path: string }[] };
  }>('manifests/pod-monitor.yaml');
  assert.deepEqual(spec.selector.matchLabels, { app: 'ztunnel' });
  assert.equal(spec.podMetricsEndpoints[0]?.port, 'ztunnel-stats');
});

test('every package and the image have the same version', () => {
  for (const name of [
    'api',
    'controller',
    'ctl',
    'kmesh',
    'lab',
    'linux',
    'orchestration',
    'probe',
    'runtime',
    'tunnel',
  ]) {
    const manifest = new URL(`../../packages/${name}/package.json`, import.meta.url);
    assert.equal((JSON.parse(readFileSync(manifest, 'utf8')) as { version: string }).version, version, name);
  }
});
