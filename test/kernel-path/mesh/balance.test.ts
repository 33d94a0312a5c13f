import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createLab, keyOf, serviceOf, startKernelMesh, workloadOf } from '@kmesh/lab';

test('20,000 connections reach three endpoints by their weights of 1:1:2, and each shows the dialled address as peer', async () => {
  await using lab = await createLab();
  const node = await lab.node();
  await using mesh = await startKernelMesh(lab);
  const client = await node.pod({ name: 'client' });
  const service = serviceOf({ name: 'shop', vips: lab.serviceAddress(), ports: { 80: 8080 } });
  const endpoints = [];
  for (const [name, capacity] of [
    ['one', 1],
    ['uno', 1],
    ['two', 2],
  ] as const) {
    const pod = await node.pod({ name });
    await pod.serve({ port: 8080 });
    endpoints.push(workloadOf(pod, { capacity, services: { [keyOf(service)]: {} } }));
  }
  await mesh.apply(service, ...endpoints);
  await mesh.enrol(client);

  const to = service.vips.map(({ ip }) => (ip.includes(':') ? `[${ip}]:80` : `${ip}:80`));
  const report = await client.dial({ to, connections: 20_000, concurrency: 64 });
  assert.deepEqual(report.failures, []);
  assert.equal(report.wrongPeer, 0);
  for (const [name, share] of Object.entries({ one: 0.25, uno: 0.25, two: 0.5 })) {
    const got = (report.byEndpoint[name] ?? 0) / 20_000;
    assert.ok(Math.abs(got - share) < 0.02, `${name} got ${got}`);
  }
  assert.deepEqual(mesh.decisions(), { kernelBalanced: 20_000 });
});
