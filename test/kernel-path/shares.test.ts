import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createLab, keyOf, serviceOf, startMesh } from '@kmesh/lab';
import { takesKernelPath } from '@kmesh/lab/testing/daemon/pinned-node.ts';
import { policy } from '@kmesh/lab/testing/traffic/policies.ts';

const DIALS = 2_000;

/** A service of which the kernel serves one endpoint and the tunnel the others, for two reasons. */
test('LBA: endpoints that take different paths have the shares of their weights, each drawn once', async () => {
  await using lab = await createLab();
  await lab.node();
  await lab.node();
  await using mesh = await startMesh(lab, { kernelPath: true });
  const service = serviceOf({ name: 'shop', vips: lab.serviceAddress(), ports: { 80: 8080 } });
  // One that looks at addresses: the kernel cannot say what it comes to.
  const byAddress = policy(
    'Deny',
    {
      sourceIps: ['192.0.2.0/24'],
      principals: [{ kind: 'Exact', value: 'cluster.local/ns/default/sa/sa-client' }],
    },
    { name: 'by-address' },
  );
  const bound = { ...byAddress, policy: { ...byAddress.policy, scope: 'WorkloadSelector' as const } };
  await mesh.apply(service, bound);
  const { pod: client } = await mesh.pod({ name: 'client' });
  const weights = { near: 3, asked: 2, far: 1 };
  for (const [name, capacity] of Object.entries(weights)) {
    const { pod } = await mesh.pod(
      {
        name,
        workload: {
          services: { [keyOf(service)]: {} },
          capacity,
          ...(name === 'asked' ? { authorizationPolicies: [`default/${bound.policy.name}`] } : {}),
        },
      },
      name === 'far' ? 1 : 0,
    );
    await pod.serve({ port: 8080, mode: 'http' });
    if (name === 'near') await takesKernelPath(mesh, client, `${pod.addresses.v4}:8080`);
  }
  const to = `${service.vips[0]?.ip}:80`;
  const watch = await mesh.node().proxy.watch();
  const report = await client.dial({ to, mode: 'http', connections: DIALS, concurrency: 4 });
  assert.equal(report.failed, 0);
  for (const [name, weight] of Object.entries(weights)) {
    const share = weight / 6;
    const deviation = Math.sqrt(DIALS * share * (1 - share));
    const count = report.byEndpoint[name] ?? 0;
    assert.ok(Math.abs(count - DIALS * share) < 4 * deviation, `${name}: ${count} of ${DIALS}`);
  }
  const byKernel = () => watch.lines.filter(({ fields }) => fields['path'] === 'kernel').length;
  await mesh
    .node()
    .proxy.until('lines of the kernel path', () => byKernel() >= (report.byEndpoint['near'] ?? 0));
});
