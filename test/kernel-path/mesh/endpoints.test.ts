import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Service } from '@kmesh/api';
import { createLab, endpointText, keyOf, type Pod, serviceOf, startKernelMesh, workloadOf } from '@kmesh/lab';

const range = (from: number, count: number) => Array.from({ length: count }, (_, index) => from + index);
const targetsOf = (service: Service, port: number) => service.vips.map(({ ip }) => endpointText(ip, port));

/** Every port of the service, in both families, answers under `name(port)`. */
async function assertEachPortAnswers(client: Pod, service: Service, name: (port: number) => string) {
  const to = [...service.ports.keys()].flatMap((port) => targetsOf(service, port));
  const report = await client.dial({ to, connections: to.length, concurrency: 8 });
  assert.deepEqual(report.failures, []);
  const expected = Object.fromEntries(
    [...service.ports.keys()].map((port) => [name(port), service.vips.length]),
  );
  assert.deepEqual(report.byEndpoint, expected);
}

test('LBA-16: one call reaches one of two pods, fifty more reach both, and both sides of each name the service', async () => {
  await using lab = await createLab();
  const node = await lab.node();
  await using mesh = await startKernelMesh(lab);
  const client = await node.pod({ name: 'client' });
  const service = serviceOf({ name: 'pair', vips: lab.serviceAddress(), ports: { 80: 8080 } });
  await mesh.apply(service);
  await mesh.enrol(client);
  for (const name of ['left', 'right']) {
    const pod = await node.pod({ name });
    await pod.serve({ port: 8080 });
    await mesh.enrol({ pod, workload: workloadOf(pod, { services: { [keyOf(service)]: {} } }) });
  }
  using observed = mesh.observe();
  const to = targetsOf(service, 80);
  const one = await client.dial({ to, connections: 1 });
  assert.deepEqual(Object.values(one.byEndpoint), [1]);
  const fifty = await client.dial({ to, connections: 50 });
  assert.equal(fifty.failed, 0);
  assert.deepEqual(Object.keys(fifty.byEndpoint).sort(), ['left', 'right']);

  const connections = await observed.ended(2 * 51);
  for (const reporter of ['source', 'destination']) {
    const services = connections
      .filter(({ start }) => start.reporter === reporter)
      .map(({ start }) => start.destinationService?.hostname);
    assert.deepEqual(services, Array(51).fill(service.hostname), reporter);
  }
});

for (const [title, ports, services] of [
  ['LBA-17: a service with 30 ports whose pod is in 20 services: every port of every service works', 30, 20],
  ['NEG-20: services with 11 and 30 ports, a pod in 11 services: every port works', 11, 11],
] as const) {
  test(title, async () => {
    await using lab = await createLab();
    const node = await lab.node();
    await using mesh = await startKernelMesh(lab);
    const [client, server] = [await node.pod({ name: 'client' }), await node.pod({ name: 'server' })];
    const numbers = range(8000, 30);
    for (const port of numbers) await server.serve({ port, name: `port${port}` });
    const all = range(0, services).map((index) =>
      serviceOf({
        name: `service${index}`,
        vips: lab.serviceAddress(),
        ports: Object.fromEntries(
          numbers.slice(0, index === 0 ? 30 : ports).map((port) => [port - 7000, port]),
        ),
      }),
    );
    const memberships = Object.fromEntries(all.map((service) => [keyOf(service), {}]));
    await mesh.apply(...all, workloadOf(server, { services: memberships }));
    await mesh.enrol(client);
    for (const service of all) await assertEachPortAnswers(client, service, (port) => `port${port + 7000}`);
  });
}

test('LBA-18: Strict mode without a local endpoint is refused', async () => {
  await using lab = await createLab();
  const [here, there] = [await lab.node(), await lab.node()];
  await using mesh = await startKernelMesh(lab, { node: here.name });
  const client = await here.pod({ name: 'client' });
  const far = await there.pod({ name: 'far' });
  await far.serve({ port: 8080 });
  const strict = { mode: 'Strict', routingPreferences: ['Node'], healthPolicy: 'OnlyHealthy' } as const;
  const service = serviceOf({
    name: 'local-only',
    vips: lab.serviceAddress(),
    ports: { 80: 8080 },
    loadBalancer: strict,
  });
  await mesh.apply(service, workloadOf(far, { services: { [keyOf(service)]: {} } }));
  await mesh.enrol(client);
  const refused = await client.dial({ to: targetsOf(service, 80), connections: 4 });
  assert.equal(refused.failed, 4);
  assert.deepEqual(
    new Set(refused.failures.map(({ step, reason }) => `${step} ${reason}`)),
    new Set(['connect ECONNREFUSED']),
  );

  const near = await here.pod({ name: 'near' });
  await near.serve({ port: 8080 });
  await mesh.apply(workloadOf(near, { services: { [keyOf(service)]: {} } }));
  const served = await client.dial({ to: targetsOf(service, 80), connections: 20 });
  assert.deepEqual(served.byEndpoint, { near: 20 });
});

test('NEG-21: each endpoint is reached at its own target port', async () => {
  await using lab = await createLab();
  const node = await lab.node();
  await using mesh = await startKernelMesh(lab);
  const client = await node.pod({ name: 'client' });
  const service = serviceOf({ name: 'mixed', vips: lab.serviceAddress(), ports: { 80: 8000 } });
  await mesh.apply(service);
  await mesh.enrol(client);
  for (const [name, port, own] of [
    ['declared', 8000, {}],
    ['moved', 9001, { 80: 9001 }],
    ['elsewhere', 9002, { 80: 9002 }],
  ] as const) {
    const pod = await node.pod({ name });
    await pod.serve({ port });
    await mesh.apply(workloadOf(pod, { services: { [keyOf(service)]: own } }));
  }
  const report = await client.dial({ to: targetsOf(service, 80), connections: 200, concurrency: 4 });
  assert.deepEqual(report.failures, []);
  assert.deepEqual(Object.keys(report.byEndpoint).sort(), ['declared', 'elsewhere', 'moved']);
});

test('NEG-24: a service named waypoint and one on port 15021 are served like any other', async () => {
  await using lab = await createLab();
  const node = await lab.node();
  await using mesh = await startKernelMesh(lab);
  const [client, server] = [await node.pod({ name: 'client' }), await node.pod({ name: 'server' })];
  await server.serve({ port: 8080, name: 'web' });
  await server.serve({ port: 15021, name: 'status' });
  const named = serviceOf({ name: 'my-waypoint', vips: lab.serviceAddress(), ports: { 80: 8080 } });
  const status = serviceOf({ name: 'status', vips: lab.serviceAddress(), ports: { 15021: 15021 } });
  const memberships = { [keyOf(named)]: {}, [keyOf(status)]: {} };
  await mesh.apply(named, status, workloadOf(server, { services: memberships }));
  await mesh.enrol(client);
  await assertEachPortAnswers(client, named, () => 'web');
  await assertEachPortAnswers(client, status, () => 'status');
});
