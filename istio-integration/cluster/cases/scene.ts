import { type AccessLine, parseAccessLog } from '@kmesh/lab';
import type { V1Pod, V1Service } from '@kubernetes/client-node';
import type { Api, Manifest } from '../api/api.ts';
import { appImage } from '../bare/images.ts';
import type { Nodes } from '../bare/nodes.ts';
import { waitUntil } from '../wait.ts';

/** The namespace whose pods are in the mesh, and one whose pods are not. */
export const inside = 'kmesh-inside';
export const outside = 'kmesh-outside';
/** The servers' ports: HTTP, plain TCP, and TCP on which the server speaks first. */
export const ports = { http: 8080, tcp: 9090, serverFirst: 9091 } as const;

/** The identity of an account of the mesh's namespace. */
export const identity = (account: string): string => `spiffe://cluster.local/ns/${inside}/sa/${account}`;

/** The pods of the cases: clients and servers on each node, inside and outside the mesh. */
export interface Scene {
  readonly api: Api;
  readonly kubeconfig: string;
  readonly nodes: readonly string[];
  /** The same nodes, from outside of the cluster. */
  readonly outside: Nodes;
  /** Whether the proxies have the mounts of the profile. */
  readonly kernelPath: boolean;
  /** The image of an earlier Kmesh, if a case needs one. */
  readonly earlier: string | undefined;
  /** Remains of a failed case: removed after the logs are collected. */
  readonly left: Manifest[];
}

/** Result of a client's calls. */
export interface Calls {
  readonly failed: boolean;
  readonly text: string;
  /** Host names of the pods that answered. */
  readonly servers: readonly string[];
}

/** The node proxies. */
export const proxies: Manifest = {
  apiVersion: 'apps/v1',
  kind: 'DaemonSet',
  metadata: { name: 'ztunnel', namespace: 'istio-system' } as Manifest['metadata'],
};

const labelsOf = (app: string): Record<string, string> => ({ app });

/** A namespace, a member of the mesh or not. */
export function namespace(name: string, member: boolean): Manifest {
  const labels = member ? { 'istio.io/dataplane-mode': 'ambient' } : {};
  return { apiVersion: 'v1', kind: 'Namespace', metadata: { name, labels } };
}

/** A Deployment of servers, also used as clients, with an account and a service of the same name. */
export function app(
  name: string,
  place: {
    readonly namespace: string;
    readonly node?: string;
    readonly replicas?: number;
    /** Labels of its pods beside `app`. */
    readonly labels?: Readonly<Record<string, string>>;
  },
): Manifest[] {
  const metadata = { name, namespace: place.namespace };
  const labels = labelsOf(name);
  return [
    { apiVersion: 'v1', kind: 'ServiceAccount', metadata },
    {
      apiVersion: 'v1',
      kind: 'Service',
      metadata,
      spec: {
        selector: labels,
        ports: [
          { name: 'http', port: 80, targetPort: ports.http },
          { name: 'tcp', port: ports.tcp },
          { name: 'tcp-first', port: ports.serverFirst },
        ],
      },
    },
    {
      apiVersion: 'apps/v1',
      kind: 'Deployment',
      metadata,
      spec: {
        replicas: place.replicas ?? 1,
        selector: { matchLabels: labels },
        template: {
          metadata: { labels: { ...labels, ...place.labels } },
          spec: {
            serviceAccountName: name,
            terminationGracePeriodSeconds: 10,
            ...(place.node === undefined ? {} : { nodeSelector: { 'kubernetes.io/hostname': place.node } }),
            containers: [
              {
                name: 'app',
                image: appImage,
                args: [
                  ...['--metrics', '15014', '--port', `${ports.http}`, '--tcp', `${ports.tcp}`],
                  ...['--tcp', `${ports.serverFirst}`, '--server-first', `${ports.serverFirst}`],
                  ...['--version', 'v1', '--grpc', '7070'],
                ],
                env: [{ name: 'NAMESPACE', valueFrom: { fieldRef: { fieldPath: 'metadata.namespace' } } }],
                readinessProbe: { httpGet: { path: '/', port: ports.http }, periodSeconds: 1 },
                livenessProbe: { tcpSocket: { port: ports.tcp }, periodSeconds: 2, failureThreshold: 5 },
              },
            ],
          },
        },
      },
    },
  ];
}

/** The Deployment of an app. */
export function deployment(name: string, of = inside): Manifest {
  return {
    apiVersion: 'apps/v1',
    kind: 'Deployment',
    metadata: { name, namespace: of } as Manifest['metadata'],
  };
}

/**
 * Creates the cases' apps, and waits until they run, the members of the mesh are enrolled, and their services have
 * endpoints: kube-proxy, which serves the one outside the mesh, and istiod learn of ready pods a moment later.
 */
export async function setScene(scene: Scene): Promise<void> {
  const { api, nodes } = scene;
  const [near = '', far = near] = nodes;
  await api.apply(namespace(inside, true), namespace(outside, false));
  await api.apply(
    ...app('client', { namespace: inside, node: near }),
    ...app('near', { namespace: inside, node: near, labels: { group: 'servers' } }),
    ...app('far', { namespace: inside, node: far, labels: { group: 'servers' } }),
    ...app('stranger', { namespace: outside, node: near }),
  );
  for (const name of ['client', 'near', 'far']) await api.rolledOut(deployment(name));
  await api.rolledOut(deployment('stranger', outside));
  const clients = [await onlyPod(scene, 'client'), await onlyPod(scene, 'stranger', outside)];
  for (const name of ['client', 'near', 'far']) {
    await enrolled(await onlyPod(scene, name));
    for (const client of clients) await callUntil(scene, client, `http://${name}.${inside}:80`, 'answered');
  }
}

/** Applies objects, runs an action, and removes the objects; if the action fails, after the logs are collected. */
export async function having(
  { api, left }: Scene,
  objects: readonly Manifest[],
  action: () => Promise<void>,
): Promise<void> {
  try {
    await api.apply(...objects);
    await action();
  } catch (error) {
    left.push(...objects);
    throw error;
  }
  await api.remove(...objects);
}

/** Removes the cases' apps. */
export async function clearScene({ api }: Scene): Promise<void> {
  await api.remove(namespace(inside, true), namespace(outside, false));
}

/** The pod of an app that has one. */
export async function onlyPod({ api }: Scene, name: string, of = inside): Promise<V1Pod> {
  return await waitUntil(
    `one pod of ${of}/${name}`,
    60_000,
    async () => {
      const pods = await api.pods(of, `app=${name}`);
      return pods.length === 1 ? pods[0] : undefined;
    },
    { everyMs: 200 },
  );
}

/** The address of a service. */
export async function clusterIp({ api }: Scene, name: string, of = inside): Promise<string> {
  const service = await api.read<V1Service>({
    apiVersion: 'v1',
    kind: 'Service',
    metadata: { name, namespace: of } as Manifest['metadata'],
  });
  return service?.spec?.clusterIP ?? '';
}

/** Throws if istio-cni has not enrolled the pod. */
export async function enrolled(pod: V1Pod): Promise<void> {
  const state = pod.metadata?.annotations?.['ambient.istio.io/redirection'];
  if (state !== 'enabled')
    throw new Error(`${pod.metadata?.name} is not enrolled: ${state ?? 'no annotation'}`);
}

/** Calls a URL from a pod. */
export async function call(
  { api }: Scene,
  from: V1Pod,
  url: string,
  { count = 1, qps = 0, extra = [] as readonly string[] } = {},
): Promise<Calls> {
  const answer = await api.exec(from, [
    ...['/usr/local/bin/client', '--timeout', '5s', '--count', `${count}`, '--qps', `${qps}`],
    ...['--new-connection-per-request', ...extra, url],
  ]);
  const text = answer.stdout + answer.stderr;
  return {
    failed: answer.code !== 0,
    text,
    servers: [...text.matchAll(/Hostname=(\S+)/g)].map(([, name = '']) => name),
  };
}

/** Calls a URL from a pod repeatedly until it succeeds or, with `refused`, until it fails. */
export async function callUntil(
  scene: Scene,
  from: V1Pod,
  url: string,
  outcome: 'answered' | 'refused',
): Promise<Calls> {
  let last = '';
  return await waitUntil(
    `${url} to be ${outcome} from ${from.metadata?.name}`,
    30_000,
    async () => {
      const calls = await call(scene, from, url);
      last = calls.text.trim().split('\n').slice(-3).join(' / ');
      return calls.failed === (outcome === 'refused') ? calls : undefined;
    },
    { everyMs: 100, state: () => last },
  );
}

/** Calls a URL from a pod, `count` times at once, until the answers meet a condition. */
export async function callsUntil(
  scene: Scene,
  from: V1Pod,
  to: string,
  wanted: (calls: Calls) => boolean,
  { count = 1 } = {},
): Promise<Calls> {
  let last = '';
  return await waitUntil(
    `the wanted answer of ${to}`,
    30_000,
    async () => {
      const calls = await call(scene, from, to, { count });
      last = calls.text;
      return wanted(calls) ? calls : undefined;
    },
    { everyMs: 200, state: () => last },
  );
}

/** Fails unless all calls were answered. */
export function answered(calls: Calls): Calls {
  if (calls.failed) throw new Error(`a call failed:\n${calls.text}`);
  return calls;
}

/** The node proxy of a node. */
export async function proxyOf({ api }: Scene, node: string): Promise<V1Pod> {
  const pods = await api.pods('istio-system', 'app=ztunnel');
  const pod = pods.find(({ spec }) => spec?.nodeName === node);
  if (pod === undefined) throw new Error(`no proxy on ${node}`);
  return pod;
}

/** Waits for a matching access log line of a node's proxy. */
export async function accessLine(
  scene: Scene,
  node: string,
  fits: (fields: AccessLine['fields']) => boolean,
): Promise<AccessLine['fields']> {
  const proxy = await proxyOf(scene, node);
  let last = '';
  return await waitUntil(
    `a line of the access log of ${node}`,
    20_000,
    async () => {
      const log = await scene.api.log(proxy);
      last = log.trim().split('\n').slice(-3).join('\n');
      return parseAccessLog(log).find(({ fields }) => fits(fields))?.fields;
    },
    { everyMs: 300, state: () => last },
  );
}
