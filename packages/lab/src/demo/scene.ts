import { existsSync, writeFileSync } from 'node:fs';
import type { MeshUpdate, PortMap, Route, Service } from '@kmesh/api';
import { stringify } from 'yaml';
import { keyOf, serviceOf, workloadOf } from '../mesh/records.ts';
import { endpointText } from '../network/addresses.ts';
import type { Lab } from '../network/lab.ts';
import type { PeerIdentity } from '../peers/hbone-client.ts';
import { serveWaypoint } from '../peers/waypoint.ts';
import type { Node } from '../pods/node.ts';
import type { Pod } from '../pods/pod.ts';
import type { CanaryScene } from './canary.ts';

/** One destination of the demo's traffic and its expected endpoints. */
export interface DemoTarget {
  /** Name in the view: a service's name, or `outside`. */
  readonly name: string;
  /** `ip:port` that the client dials. */
  readonly to: string;
  readonly mode: 'http' | 'banner';
  /** Names of the endpoints that should answer. */
  readonly endpoints: readonly string[];
  /** An endpoint that may get no connection: the new version of a canary. */
  readonly optional?: string;
}

/** The lab mesh of the demo. */
export interface Scene {
  readonly node: Node;
  readonly client: Pod;
  readonly pods: readonly Pod[];
  readonly targets: readonly DemoTarget[];
  /** The same mesh as updates of the control plane. */
  readonly mesh: readonly MeshUpdate[];
  /** A pod of another node, reached by HBONE; its proxy is `serveFarProxy`. Absent without certificates. */
  readonly far: Pod | undefined;
  readonly canary: CanaryScene;
}

const httpPort = 8080;
const bannerPort = 9000;
const weights = [1, 1, 2];

/**
 * Builds one node with a client pod, a service `web` (HTTP and raw TCP) of three endpoints with weights 1:1:2, a
 * service `shop` of two versions, a service `greeter` with an IPv6 address only, and a destination outside the mesh;
 * every server is running when it returns. With certificates, `greeter` is in the mesh, a policy allows only the
 * client to call it, and there is a service `ledger` on another node.
 */
export async function buildScene(lab: Lab, options: { readonly certificates: boolean }): Promise<Scene> {
  const node = await lab.node({ name: 'node1' });
  const client = await node.pod({ name: 'client', namespace: 'demo' });
  const web = await Promise.all(
    weights.map((_, index) =>
      node.pod({ name: `web-${index + 1}`, namespace: 'demo', serviceAccount: 'web' }),
    ),
  );
  const greeters = await Promise.all(
    [1, 2].map((index) =>
      node.pod({ name: `greeter-${index}`, namespace: 'demo', serviceAccount: 'greeter' }),
    ),
  );
  const shop = await Promise.all(
    ['shop-v1', 'shop-v2'].map((name) => node.pod({ name, namespace: 'demo', serviceAccount: 'shop' })),
  );
  const far = options.certificates ? await farPod(lab) : undefined;
  const outside = await lab.outsideHost('outside');
  await Promise.all([
    ...web.flatMap((pod) => [
      pod.serve({ port: httpPort, mode: 'http' }),
      pod.serve({ port: bannerPort, mode: 'banner' }),
    ]),
    ...greeters.map((pod) => pod.serve({ port: bannerPort, mode: 'banner' })),
    ...shop.map((pod) => pod.serve({ port: httpPort, mode: 'http' })),
    outside.serve({ port: httpPort, mode: 'http' }),
  ]);

  const webAddress = lab.serviceAddress();
  const greeterAddress = lab.serviceAddress();
  const webService = serviceOf({
    name: 'web',
    namespace: 'demo',
    vips: webAddress,
    ports: { 80: httpPort, 9000: bannerPort },
  });
  const greeterService = serviceOf({
    name: 'greeter',
    namespace: 'demo',
    vips: [greeterAddress.v6],
    ports: { 7: bannerPort },
  });
  const mesh: MeshUpdate[] = [
    { kind: 'service', service: webService },
    { kind: 'service', service: greeterService },
    { kind: 'workload', workload: workloadOf(client) },
    ...web.map(
      (pod, index): MeshUpdate => ({
        kind: 'workload',
        workload: workloadOf(pod, { services: { [keyOf(webService)]: {} }, capacity: weights[index] ?? 1 }),
      }),
    ),
    ...greeters.map(
      (pod): MeshUpdate => ({
        kind: 'workload',
        workload: workloadOf(pod, {
          services: { [keyOf(greeterService)]: {} },
          ...(options.certificates ? { protocol: 'HBONE' } : {}),
        }),
      }),
    ),
  ];
  const versions = shopOf(lab, shop);
  mesh.push(...versions.mesh);
  const ledger = far === undefined ? undefined : ledgerOf(lab, far);
  if (ledger !== undefined) mesh.push(...ledger.mesh, greeterPolicy(client));
  const webNames = web.map((pod) => pod.name);
  return {
    node,
    client,
    pods: [client, ...web, ...greeters, ...shop],
    mesh,
    far,
    canary: versions.canary,
    targets: [
      { name: 'web', to: endpointText(webAddress.v4, 80), mode: 'http', endpoints: webNames },
      { name: 'web (raw TCP)', to: endpointText(webAddress.v4, 9000), mode: 'banner', endpoints: webNames },
      {
        name: 'greeter',
        to: endpointText(greeterAddress.v6, 7),
        mode: 'banner',
        endpoints: greeters.map((pod) => pod.name),
      },
      versions.target,
      ...(ledger === undefined ? [] : [ledger.target]),
      {
        name: 'outside',
        to: endpointText(outside.addresses.v4, httpPort),
        mode: 'http',
        endpoints: ['outside'],
      },
    ],
  };
}

/** The service `shop`, whose two versions are separate services: a route sets their shares. */
function shopOf(
  lab: Lab,
  pods: readonly Pod[],
): {
  readonly mesh: readonly MeshUpdate[];
  readonly target: DemoTarget;
  readonly canary: CanaryScene;
} {
  const named = (name: string): Service =>
    serviceOf({ name, namespace: 'demo', vips: lab.serviceAddress(), ports: { 80: httpPort } });
  const service = named('shop');
  const [old, next] = [named('shop-v1'), named('shop-v2')];
  const versions = [old, next];
  const route = (percent: number): Route => ({
    namespace: 'demo',
    name: 'canary',
    hosts: [service.hostname],
    exportTo: [],
    isGatewayApi: true,
    createdAt: 0,
    tcp: [
      {
        matches: [],
        backends: [
          { hostname: old.hostname, port: 80, weight: 100 - percent },
          { hostname: next.hostname, port: 80, weight: percent },
        ],
      },
    ],
    http: undefined,
    unsupported: undefined,
  });
  const to = service.vips.find(({ ip }) => !ip.includes(':'))?.ip ?? '';
  const names = pods.map(({ name }) => name);
  const endpoint = names[1] ?? '';
  return {
    mesh: [
      ...[service, ...versions].map((one): MeshUpdate => ({ kind: 'service', service: one })),
      ...pods.map((pod, index): MeshUpdate => {
        // Without a route the old version serves.
        const of = index === 0 ? [service, old] : [next];
        const services = Object.fromEntries(of.map((one) => [keyOf(one), {}]));
        return { kind: 'workload', workload: workloadOf(pod, { services }) };
      }),
      { kind: 'route', route: route(10) },
    ],
    target: { name: 'shop', to: endpointText(to, 80), mode: 'http', endpoints: names, optional: endpoint },
    canary: { target: 'shop', endpoint, route },
  };
}

async function farPod(lab: Lab): Promise<Pod> {
  const node = await lab.node({ name: 'node2' });
  const pod = await node.pod({ name: 'ledger-1', namespace: 'demo', serviceAccount: 'ledger' });
  await pod.serve({ port: httpPort, mode: 'http' });
  return pod;
}

function ledgerOf(lab: Lab, pod: Pod): { readonly mesh: readonly MeshUpdate[]; readonly target: DemoTarget } {
  const vips = lab.serviceAddress();
  const service = serviceOf({ name: 'ledger', namespace: 'demo', vips, ports: { 80: httpPort } });
  const workload = workloadOf(pod, { protocol: 'HBONE', services: { [keyOf(service)]: {} } });
  return {
    mesh: [
      { kind: 'service', service },
      { kind: 'workload', workload },
    ],
    target: { name: 'ledger', to: endpointText(vips.v4, 80), mode: 'http', endpoints: [pod.name] },
  };
}

/** Only the client may call the greeters. */
function greeterPolicy(client: Pod): MeshUpdate {
  const value = `cluster.local/ns/${client.podNamespace}/sa/${client.serviceAccount}`;
  return {
    kind: 'policy',
    policy: {
      name: 'greeter-clients',
      namespace: 'demo',
      scope: 'Namespace',
      action: 'Allow',
      rules: [[[{ principals: [{ kind: 'Exact', value }] }]]],
      dryRun: false,
    },
  };
}

/** A substitute for the proxy of the other node: accepts HBONE for its pod and forwards the bytes. */
export async function serveFarProxy(pod: Pod, identity: PeerIdentity): Promise<{ close(): void }> {
  return await serveWaypoint(pod, {
    identity,
    route: () => ({ ip: pod.addresses.v4, port: httpPort }),
  });
}

/** Writes the demo's mesh as a local mesh file (ambient contract 4), unless the file exists. */
export function writeMeshFile(path: string, mesh: readonly MeshUpdate[]): void {
  if (!existsSync(path)) writeFileSync(path, meshFileText(mesh));
}

/** The text of {@link writeMeshFile}: the mesh that the demo's control plane would send. */
function meshFileText(mesh: readonly MeshUpdate[]): string {
  const workloads = mesh.flatMap((update) => (update.kind === 'workload' ? [update.workload] : []));
  const services = mesh.flatMap((update) => (update.kind === 'service' ? [update.service] : []));
  const routes = mesh.flatMap((update) => (update.kind === 'route' ? [update.route] : []));
  return stringify({
    workloads: workloads.map((workload) => ({
      uid: workload.uid,
      name: workload.name,
      namespace: workload.namespace,
      serviceAccount: workload.serviceAccount,
      trustDomain: workload.trustDomain,
      workloadIps: workload.addresses,
      node: workload.node,
      protocol: workload.protocol,
      capacity: workload.capacity,
      workloadName: workload.workloadName,
      canonicalName: workload.canonicalName,
      clusterId: workload.clusterId,
      services: Object.fromEntries([...workload.services].map(([key, ports]) => [key, portsOf(ports)])),
    })),
    services: services.map((service) => ({
      name: service.name,
      namespace: service.namespace,
      hostname: service.hostname,
      vips: service.vips.map((vip) => `${vip.network}/${vip.ip}`),
      ports: portsOf(service.ports),
    })),
    routes: routes.map(({ unsupported: _none, http: _http, ...route }) => route),
  });
}

function portsOf(ports: PortMap): Record<string, number> {
  return Object.fromEntries(ports);
}
