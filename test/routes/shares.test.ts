import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Route, Service } from '@kmesh/api';
import { routeRecord } from '@kmesh/api/testing';
import { createLab, keyOf, type LabMesh, type MeshPod, serviceOf, startMesh } from '@kmesh/lab';
import { takesKernelPath } from '@kmesh/lab/testing/daemon/pinned-node.ts';
import { untilTablesFollow } from '@kmesh/lab/testing/traffic/paths.ts';

const DIALS = 1_000;

const versions = ['v1', 'v2', 'v3'] as const;
const splits: readonly (readonly number[])[] = [
  [90, 10, 0],
  [50, 50, 0],
  [99, 1, 0],
  [60, 30, 10],
];

/** Where each version runs, seen from the client: what a path serves is on its node, or on another one. */
const places: Readonly<Record<string, readonly number[]>> = {
  'of one node': [0, 0, 0],
  'of two nodes': [0, 1, 0],
};

for (const [place, nodes] of Object.entries(places)) {
  test(`connections to versions ${place} have the shares of the route's weights, each drawn once`, async () => {
    await using lab = await createLab();
    await lab.node();
    await lab.node();
    await using mesh = await startMesh(lab);
    const { client, service, backends } = await shop(mesh, nodes, lab.serviceAddress.bind(lab));
    for (const weights of splits) {
      await mesh.apply(split(service, backends, weights));
      await untilTablesFollow(mesh);
      const to = `${service.vips[0]?.ip}:80`;
      const report = await client.pod.dial({ to, mode: 'http', connections: DIALS, concurrency: 8 });
      assert.equal(report.failed, 0, JSON.stringify(report.failures));
      const sum = weights.reduce((total, weight) => total + weight, 0);
      for (const [index, name] of versions.entries()) {
        const share = (weights[index] ?? 0) / sum;
        const deviation = Math.sqrt(DIALS * share * (1 - share));
        const count = report.byEndpoint[name] ?? 0;
        assert.ok(
          Math.abs(count - DIALS * share) <= 4 * deviation,
          `${weights.join(':')}, ${name}: ${count} of ${DIALS}`,
        );
      }
    }
  });
}

/** A client of node 0, and the service `shop`, whose versions are services of their own. */
async function shop(
  mesh: LabMesh,
  nodes: readonly number[],
  address: () => { readonly v4: string; readonly v6: string },
): Promise<{ client: MeshPod; service: Service; backends: Service[] }> {
  const client = await mesh.pod({ name: 'client' });
  const service = serviceOf({ name: 'shop', vips: address(), ports: { 80: 8080 } });
  const backends = versions.map((name) =>
    serviceOf({ name: `shop-${name}`, vips: address(), ports: { 80: 8080 } }),
  );
  await mesh.apply(service, ...backends);
  for (const [index, name] of versions.entries()) {
    const services = { [keyOf(backends[index] as Service)]: {} };
    const server = await mesh.pod({ name, workload: { services } }, nodes[index]);
    await server.pod.serve({ port: 8080, mode: 'http' });
    if (mesh.kernelPath && nodes[index] === 0) {
      await takesKernelPath(mesh, client.pod, `${server.pod.addresses.v4}:8080`);
    }
  }
  return { client, service, backends };
}

function split(service: Service, backends: readonly Service[], weights: readonly number[]): Route {
  return routeRecord(
    { hosts: [service.hostname] },
    backends.map(({ hostname }, index) => ({ hostname, weight: weights[index] ?? 0 })),
  );
}
