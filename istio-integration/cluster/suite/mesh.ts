import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { V1DaemonSet, V1Secret } from '@kubernetes/client-node';
import { parse, parseAllDocuments, stringify } from 'yaml';
import type { Api, Manifest } from '../api/api.ts';
import { kubeconfig } from '../bare/cluster.ts';
import { installMesh, type MeshProxy, uninstallMesh } from '../mesh/install.ts';
import { testFolder } from './source.ts';

/** The authority that Istio's tests give to istiod; they expect it there from the start. */
const authority = { name: 'cacerts', namespace: 'istio-system' };

/** The node proxy of the cluster's mesh. */
export async function meshProxy(api: Api): Promise<MeshProxy> {
  const found = await api.read<V1DaemonSet>({
    apiVersion: 'apps/v1',
    kind: 'DaemonSet',
    metadata: { name: 'ztunnel', namespace: 'istio-system' } as Manifest['metadata'],
  });
  const pod = found?.spec?.template.spec;
  const reference = pod?.containers[0]?.image;
  if (reference === undefined)
    throw new Error('the cluster has no DaemonSet ztunnel; start it again with "up"');
  return { reference, mounts: pod?.volumes?.some(({ name }) => name === 'host-bpf') === true };
}

/**
 * Installs Istio again with the settings of its ambient tests and the same proxy. `source` is the folder of Istio's
 * sources.
 */
export async function installForSuite(
  api: Api,
  proxy: MeshProxy,
  source: string,
  work: string,
): Promise<void> {
  await uninstallMesh(kubeconfig);
  const definitions = readFileSync(
    join(source, 'tests/integration/pilot/testdata/gateway-api-crd.yaml'),
    'utf8',
  );
  await api.apply(
    ...parseAllDocuments(definitions)
      .map((document) => document.toJS() as Manifest | null)
      .filter((manifest): manifest is Manifest => manifest?.kind === 'CustomResourceDefinition'),
  );
  await api.apply(secretOf(source));
  mkdirSync(work, { recursive: true });
  const values = join(work, 'values.yaml');
  writeFileSync(values, suiteValues(readFileSync(join(source, testFolder, 'main_test.go'), 'utf8')));
  await installMesh(kubeconfig, proxy, [
    join(source, 'tests/integration/iop-ambient-test-defaults.yaml'),
    values,
  ]);
}

/** Installs Istio again as `up` does. */
export async function installAgain(api: Api, proxy: MeshProxy): Promise<void> {
  await uninstallMesh(kubeconfig);
  await api.remove({ apiVersion: 'v1', kind: 'Secret', metadata: authority } as Manifest);
  await installMesh(kubeconfig, proxy);
}

/** The values in the source of the tests. */
export function suiteValues(mainTest: string): string {
  const text = /ambientControlPlaneValues = `([^`]*)`/.exec(mainTest)?.[1];
  if (text === undefined)
    throw new Error("main_test.go of Istio's ambient tests has no ambientControlPlaneValues");
  return stringify({
    apiVersion: 'install.istio.io/v1alpha1',
    kind: 'IstioOperator',
    spec: parse(text),
  });
}

function secretOf(source: string): Manifest & V1Secret {
  const pem = (name: string): string =>
    readFileSync(join(source, 'samples/certs', `${name}.pem`)).toString('base64');
  return {
    apiVersion: 'v1',
    kind: 'Secret',
    metadata: authority as Manifest['metadata'],
    data: {
      'ca-cert.pem': pem('ca-cert-alt'),
      'ca-key.pem': pem('ca-key-alt'),
      'cert-chain.pem': pem('cert-chain-alt'),
      'root-cert.pem': pem('root-cert-alt'),
    },
  } as Manifest & V1Secret;
}
