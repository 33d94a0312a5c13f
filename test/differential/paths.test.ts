import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Workload } from '@kmesh/api';
import { createLab, endpointText, type MeshNode, type ProxyWatch } from '@kmesh/lab';
import { type MeshView, resolveOutbound } from '@kmesh/orchestration';
import { drawsOf } from './expected-outcome.ts';
import { Random } from './random-mesh.ts';
import { ports, randomise, startWorld, type World } from './real-mesh.ts';

const MESHES = 10;
const DIALS = 6;

for (const kernelPath of [true, false]) {
  test(`real connections of ${MESHES} random meshes reach the endpoint and path that orchestration chooses, with the kernel path ${kernelPath ? 'on' : 'off'}`, async (context) => {
    await using lab = await createLab();
    const world = await startWorld(lab, { kernelPath });
    await using mesh = world.mesh;
    const seen = { kernel: 0, tunnel: 0, refused: 0, cautious: 0 };
    const watch = await mesh.node(0).proxy.watch();
    for (let seed = 1; seed <= MESHES; seed++) await compare(world, seed, seen);
    await countsAsLogged(mesh.node(0), watch);
    context.diagnostic(JSON.stringify(seen));
    assert.ok(seen.tunnel > 20 && seen.refused > 50, JSON.stringify(seen));
    // Outdated tables make a connection take the tunnel path, never a wrong one.
    assert.ok(seen.cautious <= seen.kernel / 4, JSON.stringify(seen));
    assert.equal(seen.kernel > 100, kernelPath, JSON.stringify(seen));
  });
}

/** In one random mesh every client dials every service and port. */
async function compare(
  world: World,
  seed: number,
  seen: Record<'kernel' | 'tunnel' | 'refused' | 'cautious', number>,
) {
  const { mesh, view, clients } = world;
  const random = new Random(seed);
  const { services, workloads } = await randomise(world, random);
  const watch = await mesh.node(0).proxy.watch();
  let answered = 0;
  const dials = clients.flatMap((client) =>
    services.flatMap((service) => ports.map((port) => ({ client, service, port }))),
  );
  await Promise.all(
    dials.map(async ({ client, service, port }) => {
      const ip = service.vips[random.below(2)]?.ip ?? '';
      const { endpoints: expected, refused } = endpointsOf(view, client.workload, ip, port);
      const to = endpointText(ip, port);
      const report = await client.pod.dial({ to, connections: DIALS, concurrency: DIALS });
      const where = `mesh ${seed}, ${client.pod.name} → ${service.name}:${port}`;
      const reached = Object.keys(report.byEndpoint);
      assert.deepEqual(
        reached.filter((name) => !expected.has(name)),
        [],
        `${where}: chosen are ${[...expected]}`,
      );
      // The share of one backend of a route may be refused while others serve.
      const [least, most] = [expected.size === 0 ? DIALS : 0, refused || expected.size === 0 ? DIALS : 0];
      assert.ok(
        least <= report.failed && report.failed <= most,
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
 * The metrics agree with the access log: the client's side counts, and an inbound proxy the connections that it serves.
 * Lines of failed connections may still follow.
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

/** Names of the endpoints that orchestration may choose, by trying every draw, and whether it may refuse. */
function endpointsOf(
  view: MeshView,
  source: Workload,
  ip: string,
  port: number,
): { readonly endpoints: ReadonlySet<string>; readonly refused: boolean } {
  const endpoints = new Set<string>();
  let refused = false;
  for (const { random } of drawsOf(view, source, ip, port)) {
    const decision = resolveOutbound(
      view,
      { source, clientIp: source.addresses[0] ?? '', destination: { ip, port } },
      { random },
    );
    refused ||= decision.kind === 'refused';
    // The address of a service that it does not see has no host.
    if (decision.kind === 'tcp' && decision.via === 'workload')
      endpoints.add(`${decision.workload?.name}:${decision.nextHop.port}`);
    if (decision.kind === 'hbone')
      endpoints.add(`${decision.workload.name}:${decision.authority.split(':').at(-1)}`);
  }
  return { endpoints, refused };
}
