import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Service, Workload } from '@kmesh/api';
import {
  type AddressPair,
  createLab,
  endpointText,
  keyOf,
  type LabMesh,
  type MeshNode,
  type MeshPod,
  type ProxyWatch,
  serviceOf,
  startMesh,
} from '@kmesh/lab';
import { untilEnrolled, untilTablesFollow } from '@kmesh/lab/testing/traffic/paths.ts';
import { answerForNobody } from '@kmesh/lab/testing/traffic/unanswered.ts';
import { MeshState, type MeshView, resolveOutbound } from '@kmesh/orchestration';
import { Random } from './random-mesh.ts';

const MESHES = 10;
const DIALS = 6;
/** Draws tried per target; more than the sum of any service's weights. */
const DRAWS = 128;

const names = ['one', 'two', 'three'] as const;
const ports = [80, 443] as const;
const targetPorts = [8001, 8002] as const;
/** Servers of every kind: in the mesh and outside it, near and far. */
const places = [
  { name: 'near', node: 0, captured: true },
  { name: 'near-too', node: 0, captured: true },
  { name: 'near-plain', node: 0, captured: false },
  { name: 'far', node: 1, captured: true },
  { name: 'far-plain', node: 1, captured: false },
] as const;

interface World {
  readonly mesh: LabMesh;
  readonly view: MeshState;
  readonly clients: readonly MeshPod[];
  readonly servers: readonly MeshPod[];
  readonly vips: readonly AddressPair[];
}

for (const kernelPath of [true, false]) {
  test(`real connections of ${MESHES} random meshes reach what orchestration chooses, by its path, with the kernel path ${kernelPath ? 'on' : 'off'}`, async (context) => {
    await using lab = await createLab();
    await lab.node();
    await lab.node();
    await using mesh = await startMesh(lab, { kernelPath });
    // Addresses that nobody has are refused at once, not when an ICMP message happens to come.
    for (const { node } of mesh.nodes) await answerForNobody(node, 'reset');
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
    await untilEnrolled(mesh, ...[...clients, ...captured].map(({ pod }) => pod));
    const world = {
      mesh,
      clients,
      servers,
      vips: names.map(() => lab.serviceAddress()),
      view: new MeshState(),
    };
    world.view.apply(clients.map(({ workload }) => ({ kind: 'workload', workload }) as const));

    const seen = { kernel: 0, tunnel: 0, refused: 0, cautious: 0 };
    const watch = await mesh.node(0).proxy.watch();
    for (let seed = 1; seed <= MESHES; seed++) await compare(world, seed, seen);
    await countsAsLogged(mesh.node(0), watch);
    context.diagnostic(JSON.stringify(seen));
    assert.ok(seen.tunnel > 20 && seen.refused > 50, JSON.stringify(seen));
    // Tables that are late make a connection take the tunnel path, not another way.
    assert.ok(seen.cautious <= seen.kernel / 4, JSON.stringify(seen));
    assert.equal(seen.kernel > 100, kernelPath, JSON.stringify(seen));
  });
}

/** One random mesh: every client dials every service and port. */
async function compare(
  world: World,
  seed: number,
  seen: Record<'kernel' | 'tunnel' | 'refused' | 'cautious', number>,
) {
  const { mesh, view, clients, servers } = world;
  const random = new Random(seed);
  const services = names.map((name, at) => randomService(random, name, world.vips[at] as AddressPair));
  const workloads = servers.map(({ workload }) => randomEndpoint(random, workload, services));
  view.apply([
    ...services.map((service) => ({ kind: 'service', service }) as const),
    ...workloads.map((workload) => ({ kind: 'workload', workload }) as const),
  ]);
  await mesh.apply(...services, ...workloads);
  await untilTablesFollow(mesh);
  const watch = await mesh.node(0).proxy.watch();
  let answered = 0;
  const dials = clients.flatMap((client) =>
    services.flatMap((service) => ports.map((port) => ({ client, service, port }))),
  );
  await Promise.all(
    dials.map(async ({ client, service, port }) => {
      const ip = service.vips[random.below(2)]?.ip ?? '';
      const expected = endpointsOf(view, client.workload, ip, port);
      const to = endpointText(ip, port);
      const report = await client.pod.dial({ to, connections: DIALS, concurrency: DIALS });
      const where = `mesh ${seed}, ${client.pod.name} → ${service.name}:${port}`;
      const reached = Object.keys(report.byEndpoint);
      assert.deepEqual(
        reached.filter((name) => !expected.has(name)),
        [],
        `${where}: chosen are ${[...expected]}`,
      );
      assert.equal(
        report.failed,
        expected.size === 0 ? DIALS : 0,
        `${where}: ${JSON.stringify(report.failures)}`,
      );
      assert.equal(report.wrongPeer, 0, where);
      answered += DIALS - report.failed;
      seen.refused += report.failed;
    }),
  );
  if (answered === 0) return;
  const { proxy } = mesh.node(0);
  const finished = () =>
    watch.lines.filter(({ fields }) => fields['direction'] === 'outbound' && fields['error'] === undefined);
  await proxy.until('every line is written', () => finished().length >= answered);
  const served = finished();
  assert.equal(served.length, answered, `mesh ${seed}`);
  for (const { fields } of served) {
    const server = workloads.find(({ name }) => name === fields['dst.workload']);
    const hbone = server?.protocol === 'HBONE' && server.node !== mesh.node(0).node.name;
    const path = mesh.kernelPath && !hbone ? 'kernel' : 'tunnel';
    seen[path]++;
    if (path === 'kernel' && fields['path'] === 'tunnel') seen.cautious++;
    else assert.equal(fields['path'], path, `mesh ${seed}: ${JSON.stringify(fields)}`);
  }
}

/**
 * The figure that a user looks at says the same as the access log: who dials counts, and an inbound proxy what it serves.
 * Lines of connections that failed may still come.
 */
async function countsAsLogged({ proxy }: MeshNode, watch: ProxyWatch): Promise<void> {
  const logged = (path: string) =>
    watch.lines.filter(
      ({ fields }) => fields['path'] === path && (path === 'tunnel' || fields['direction'] === 'outbound'),
    ).length;
  for (const path of ['kernel', 'tunnel']) {
    await proxy.until(
      `kmesh_connections_path_total of the ${path} path is its number of lines`,
      async () => (await watch.growth('kmesh_connections_path_total', { path })) === logged(path),
      20_000,
    );
  }
}

/** Names of the endpoints that orchestration may choose, by trying every draw. */
function endpointsOf(view: MeshView, source: Workload, ip: string, port: number): Set<string> {
  const endpoints = new Set<string>();
  for (let draw = 0; draw < DRAWS; draw++) {
    const decision = resolveOutbound(
      view,
      { source, clientIp: source.addresses[0] ?? '', destination: { ip, port } },
      { random: () => (draw + 0.5) / DRAWS },
    );
    // The address of a service that it does not see leads nowhere.
    if (decision.kind === 'tcp' && decision.via === 'workload')
      endpoints.add(`${decision.workload?.name}:${decision.nextHop.port}`);
    if (decision.kind === 'hbone')
      endpoints.add(`${decision.workload.name}:${decision.authority.split(':').at(-1)}`);
  }
  return endpoints;
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
