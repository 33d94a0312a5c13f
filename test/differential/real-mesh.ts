import type { MeshUpdate, Service, Workload } from '@kmesh/api';
import { routeRecord } from '@kmesh/api/testing';
import {
  type AddressPair,
  keyOf,
  type Lab,
  type LabMesh,
  type MeshPod,
  serviceOf,
  startMesh,
} from '@kmesh/lab';
import { answerUnusedAddresses } from '@kmesh/lab/testing/traffic/broken-network.ts';
import { untilEnrolled, untilTablesFollow } from '@kmesh/lab/testing/traffic/paths.ts';
import { MeshState } from '@kmesh/orchestration';
import type { Random } from './random-mesh.ts';

const names = ['one', 'two', 'three'] as const;
export const ports = [80, 443] as const;
const targetPorts = [8001, 8002] as const;
/** Servers of every kind: in the mesh and outside it, on the same node and on another. */
const places = [
  { name: 'near', node: 0, captured: true },
  { name: 'near-too', node: 0, captured: true },
  { name: 'near-plain', node: 0, captured: false },
  { name: 'far', node: 1, captured: true },
  { name: 'far-plain', node: 1, captured: false },
] as const;

/** Real pods on two nodes that random services select. */
export interface World {
  readonly mesh: LabMesh;
  /** The mesh as sent to the proxies. */
  readonly view: MeshState;
  readonly clients: readonly MeshPod[];
  readonly servers: readonly MeshPod[];
  readonly vips: readonly AddressPair[];
}

/** Starts the pods. The caller must close the mesh. */
export async function startWorld(lab: Lab, options: { readonly kernelPath: boolean }): Promise<World> {
  await lab.node();
  await lab.node();
  const mesh = await startMesh(lab, options);
  // Unused addresses are refused at once, independent of ICMP messages.
  for (const { node } of mesh.nodes) await answerUnusedAddresses(node, 'reset');
  const servers: MeshPod[] = [];
  for (const { name, node, captured } of places) {
    const server = await mesh.pod({ name, captured, workload: { capacity: 1 } }, node);
    for (const port of targetPorts) await server.pod.serve({ port, name: `${name}:${port}` });
    servers.push(server);
  }
  const clients: MeshPod[] = [];
  for (const namespace of ['default', 'other']) {
    clients.push(
      await mesh.pod({ name: `client-${namespace}`, namespace, captured: { variant: 'nftables' } }),
    );
  }
  const captured = servers.filter(({ workload }) => workload.protocol === 'HBONE');
  await untilEnrolled(mesh, [...[...clients, ...captured].map(({ pod }) => pod)]);
  const view = new MeshState();
  view.apply(clients.map(({ workload }) => ({ kind: 'workload', workload }) as const));
  return { mesh, view, clients, servers, vips: names.map(() => lab.serviceAddress()) };
}

/** Replaces the mesh, and waits until the proxies use it. */
export async function randomise(
  { mesh, view, servers, vips }: World,
  random: Random,
  more: readonly MeshUpdate[] = [],
): Promise<{ readonly services: readonly Service[]; readonly workloads: readonly Workload[] }> {
  const services = names.map((name, at) => randomService(random, name, vips[at] as AddressPair));
  const workloads = servers.map(({ workload }) => randomEndpoint(random, workload, services));
  const routes = randomRoutes(random, services);
  view.apply([
    ...routes,
    ...services.map((service) => ({ kind: 'service', service }) as const),
    ...workloads.map((workload) => ({ kind: 'workload', workload }) as const),
    ...more,
  ]);
  await mesh.apply(...routes, ...services, ...workloads, ...more);
  await untilTablesFollow(mesh);
  return { services, workloads };
}

function randomService(random: Random, name: string, vips: AddressPair): Service {
  const mapped = ports.filter(() => random.chance(0.9)).map((port) => [port, random.pick(targetPorts)]);
  return serviceOf({
    name,
    vips,
    ports: Object.fromEntries(mapped),
    visibility: random.chance(0.25) ? 'Namespace' : 'Public',
    loadBalancer: random.chance(0.5)
      ? {
          mode: random.pick(['Standard', 'Strict', 'Failover'] as const),
          healthPolicy: random.pick(['OnlyHealthy', 'AllowAll'] as const),
          routingPreferences: (['Network', 'Cluster', 'Node'] as const).filter(() => random.chance(0.4)),
        }
      : undefined,
  });
}

/** Replaces the routes by one of each client namespace, or by none. */
function randomRoutes(random: Random, services: readonly Service[]): MeshUpdate[] {
  const hostnames = services.map(({ hostname }) => hostname);
  return ['default', 'other'].map((namespace): MeshUpdate => {
    if (random.chance(0.5)) return { kind: 'removeRoute', key: `${namespace}/split` };
    const backends = Array.from({ length: 1 + random.below(3) }, () => ({
      hostname: random.pick(['gone.default.svc.cluster.local', ...hostnames]),
      port: random.chance(0.2) ? random.pick(ports) : undefined,
      weight: random.below(3),
    }));
    const hosts = [random.pick(hostnames as [string, ...string[]])];
    const route = routeRecord({ hosts, namespace, isGatewayApi: random.chance(0.5) }, backends);
    return { kind: 'route', route };
  });
}

function randomEndpoint(random: Random, workload: Workload, services: readonly Service[]): Workload {
  const own = services
    .filter(() => random.chance(0.5))
    .map((service) => {
      const mapped = ports
        .filter(() => random.chance(0.2))
        .map((port) => [port, random.pick(targetPorts)] as const);
      return [keyOf(service), new Map(mapped)] as const;
    });
  return {
    ...workload,
    services: new Map(own),
    status: random.chance(0.15) ? 'Unhealthy' : 'Healthy',
    capacity: random.below(4),
  };
}
