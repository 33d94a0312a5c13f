import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createLab } from '../src/network/lab.ts';

test('pods on two nodes and a host outside reach each other in both families', async () => {
  await using lab = await createLab();
  const [left, right] = [await lab.node(), await lab.node()];
  const client = await left.pod({ name: 'client' });
  const near = await left.pod({ name: 'near' });
  const far = await right.pod({ name: 'far' });
  const outside = await lab.outsideHost();
  for (const server of [near, far, outside]) await server.serve({ port: 80 });

  for (const from of [client, outside]) {
    for (const server of [near, far, outside]) {
      const to = [`${server.addresses.v4}:80`, `[${server.addresses.v6}]:80`];
      const report = await from.dial({ to, connections: 2 });
      assert.deepEqual(report.failures, []);
      assert.deepEqual(report.byEndpoint, { [server.name]: 2 }, `${from.name} to ${server.name}`);
    }
  }
});

test('a pod is created in a few milliseconds', async (context) => {
  await using lab = await createLab();
  const node = await lab.node();
  const started = performance.now();
  for (let i = 0; i < 20; i++) await node.pod({ name: `pod${i}` });
  context.diagnostic(`${((performance.now() - started) / 20).toFixed(1)} ms per pod`);
  assert.equal(node.pods.length, 20);
});

test('the test process reads and writes sockets that belong to pods', async () => {
  await using lab = await createLab();
  const node = await lab.node();
  const client = await node.pod({ name: 'client' });
  const server = await node.pod({ name: 'server' });
  const listening = await server.listen({ port: 7000 }, (socket) => {
    socket.write('hello from the server\n');
    let got = '';
    socket.on('data', (chunk) => {
      got += chunk.toString();
    });
    socket.on('end', () => socket.end(`you said ${got}`));
  });
  const socket = await client.connect({ host: server.addresses.v4, port: 7000 });
  assert.equal(socket.remoteAddress, server.addresses.v4);
  assert.equal(socket.localAddress, client.addresses.v4);
  socket.end('bye');
  let heard = '';
  for await (const chunk of socket) heard += String(chunk);
  assert.equal(heard, 'hello from the server\nyou said bye');
  listening.close();
  await assert.rejects(client.connect({ host: server.addresses.v6, port: 1 }), { code: 'ECONNREFUSED' });
});

test('servers answer with their name over HTTP, echo, half-close and UDP', async () => {
  await using lab = await createLab();
  const node = await lab.node();
  const client = await node.pod({ name: 'client' });
  const server = await node.pod({ name: 'server' });
  await server.serve({ port: 80, mode: 'http', name: 'web' });
  await server.serve({ port: 81, mode: 'halfclose' });
  await server.serve({ port: 82, mode: 'double' });
  await server.serve({ port: 53, protocol: 'udp', name: 'names' });

  const answer = await client.http({ host: server.addresses.v6, port: 80, path: '/where' });
  assert.equal(answer.status, 200);
  const body = JSON.parse(answer.body) as Record<string, string>;
  assert.equal(body['endpoint'], 'web');
  assert.equal(body['path'], '/where');
  assert.ok(body['remote']?.startsWith(`[${client.addresses.v6}]:`));

  const web = await client.dial({
    to: `${server.addresses.v4}:80`,
    mode: 'http',
    requests: 50,
    connections: 4,
  });
  assert.deepEqual(web.byEndpoint, { web: 200 });
  const closing = await client.dial({
    to: `${server.addresses.v4}:81`,
    mode: 'halfclose',
    bytes: 300_000,
    mapped: true,
  });
  assert.deepEqual(closing.byEndpoint, { server: 1 });
  const socket = await client.connect({ host: server.addresses.v4, port: 82 });
  socket.end('hello world');
  let heard = '';
  for await (const chunk of socket) heard += String(chunk);
  assert.equal(heard, 'hello worldhello world');
  assert.equal(
    await client.exchangeDatagram({ host: server.addresses.v4, port: 53, message: 'who' }),
    'names who',
  );
  const bytes = new Map((await server.counts()).map((count) => [count.port, count.bytes]));
  assert.equal(bytes.get(81), 300_000);
});

test('a failed connection is in the report with its step and reason', async () => {
  await using lab = await createLab();
  const node = await lab.node();
  const client = await node.pod({ name: 'client' });
  const report = await client.dial({ to: `${node.addresses.v4}:9`, connections: 3 });
  assert.equal(report.failed, 3);
  assert.deepEqual(report.failures, [
    { step: 'connect', reason: 'ECONNREFUSED', target: `${node.addresses.v4}:9`, count: 3 },
  ]);
});

test('the output of a command in a pod is returned, and a failure has it', async () => {
  await using lab = await createLab();
  const node = await lab.node();
  const pod = await node.pod({ name: 'pod' });
  const { stdout } = await pod.run('ip', ['-o', 'addr', 'show', 'eth0']);
  assert.match(stdout, /inet 10\.1\.0\.2\/16/);
  const cgroup = await pod.run('cat', ['/proc/self/cgroup']);
  assert.match(cgroup.stdout, /^0::\/kmlab-.*\/node1\/pod$/m);
  await assert.rejects(pod.run('false'), { code: 'KMESH_LAB_COMMAND_FAILED' });
  await assert.rejects(node.pod({ name: 'pod' }), { code: 'KMESH_LAB_DUPLICATE' });
});
