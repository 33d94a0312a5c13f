import assert from 'node:assert/strict';
import { test } from 'node:test';
import { startDaemonMesh } from '@kmesh/lab/testing/daemon/daemon-mesh.ts';
import { attempt, echo, untilServed } from '@kmesh/lab/testing/traffic/echo.ts';
import { handoffScene } from '@kmesh/lab/testing/traffic/handoff-scene.ts';
import { ending, readAll } from '@kmesh/lab/testing/tunnel/traffic.ts';
import { openPinnedMap } from '@kmesh/linux';
import { kmeshHandoffKeyLayout } from '@kmesh/runtime';

const pinned = async (lab: { bpffs(): Promise<string> }) => ({ KMESH_PINS: `${await lab.bpffs()}/kmesh` });

test('NEG-28: without a proxy handed-off connections are refused, never plain, also without capture rules; a new proxy serves them', async () => {
  await using scene = await handoffScene(false, pinned);
  const { mesh, client, far } = scene;
  const plain: string[] = [];
  const server = await far.listen({ port: 8093 }, (socket) => {
    plain.push(socket.remoteAddress ?? '');
    socket.end();
  });
  await echo(client, far.addresses.v4);
  const proxy = mesh.proxyOf(client);
  proxy.kill('SIGKILL');
  await proxy.ended;
  for (const address of [far.addresses.v4, far.addresses.v6]) {
    assert.deepEqual(await attempt(client, address, 8093), { how: 'refused', bytes: '' });
  }
  assert.deepEqual(plain, []);
  server.close();
  proxy.start();
  await proxy.ready();
  await echo(client, far.addresses.v4);
  await echo(client, far.addresses.v6);
});

test('BPF-09: an entry that a dead proxy left is not used for a later connection from the same address and port', async () => {
  let pins = '';
  await using scene = await handoffScene({ variant: 'nftables' }, async (lab) => {
    pins = `${await lab.bpffs()}/kmesh`;
    return { KMESH_PINS: pins };
  });
  const { mesh, client, far } = scene;
  const from = { localAddress: client.addresses.v4, localPort: 40_333 };
  const seen: string[] = [];
  const server = await far.listen({ port: 8092 }, (socket) => {
    socket.on('error', () => undefined);
    socket.on('data', (chunk: Buffer) => seen.push(chunk.toString()));
    socket.on('end', () => socket.end());
  });
  using handoffs = openPinnedMap(`${pins}/${mesh.node(0).node.name}/map-handoffs`);
  const left = () => [...handoffs.entries()].filter(([key]) => portOf(key) === from.localPort).length;
  const proxy = mesh.proxyOf(client);
  proxy.kill('SIGSTOP');
  const handed = await client.connect({ host: far.addresses.v4, port: 8092, ...from });
  handed.on('error', () => undefined);
  assert.equal(left(), 1);
  proxy.kill('SIGKILL');
  await proxy.ended;
  handed.destroy();
  proxy.start();
  await proxy.ready();
  // No proxy has read the entry, so it remains for an address and port that any process of the pod may use.
  assert.equal(left(), 1);
  const forged = await client.connect({ host: client.addresses.v4, port: 15001, ...from });
  forged.on('error', () => undefined).write('forged');
  assert.notEqual(await ending(forged), 'open');
  assert.equal(left(), 0);
  assert.deepEqual(seen, []);

  const genuine = await client.connect({ host: far.addresses.v4, port: 8092, ...from });
  genuine.on('error', () => undefined).end('genuine');
  await readAll(genuine);
  assert.deepEqual(seen, ['genuine']);
  assert.equal(left(), 0);
  server.close();
});

/** Source port of an entry. */
function portOf(key: Uint8Array): number {
  return Buffer.from(key).readUInt16BE(kmeshHandoffKeyLayout.clientPortBe);
}

test("two instances that serve a pod accept each other's hand-offs: no new connection fails", async () => {
  await using mesh = await startDaemonMesh();
  const place = await mesh.node();
  const far = await mesh.node();
  const client = await mesh.pod(place.node);
  const server = await mesh.pod(far.node);
  await place.agent.addPod(client, false);
  await far.agent.addPod(server);
  await server.serve({ port: 8080, mode: 'http' });
  const environment = {
    KMESH_KERNEL_PATH: 'true',
    KMESH_CGROUP: mesh.lab.cgroup,
    KMESH_PINS: `${await mesh.lab.bpffs()}/kmesh`,
    CONNECTION_TERMINATION_DEADLINE: '2s',
    RUST_LOG: 'info,access=error',
  };
  let current = await mesh.daemon(place, { environment });
  const other = await mesh.daemon(far, { environment: { KMESH_KERNEL_PATH: 'false' } });
  await Promise.all([current.ready(), other.ready()]);
  const dialing = client.startDialing({
    to: [`${server.addresses.v4}:8080`, `[${server.addresses.v6}]:8080`],
    connections: 0,
    concurrency: 4,
    mode: 'http',
  });
  for (let round = 0; round < 2; round++) {
    await untilServed([server], 50);
    const next = await mesh.daemon(place, { environment });
    await next.ready();
    await untilServed([server], 50);
    current.kill('SIGTERM');
    assert.deepEqual(await current.ended, { code: 0, signal: null });
    current = next;
  }
  const report = await dialing.stop();
  assert.deepEqual(report.failures, []);
  assert.ok(report.connections > 200, `${report.connections}`);
});

test('beside a proxy without hand-off, and in an update from and to it, no new connection fails', async () => {
  await using mesh = await startDaemonMesh();
  const place = await mesh.node();
  const far = await mesh.node();
  const client = await mesh.pod(place.node);
  const server = await mesh.pod(far.node);
  await place.agent.addPod(client);
  await far.agent.addPod(server);
  await server.serve({ port: 8080, mode: 'http' });
  const settings = { CONNECTION_TERMINATION_DEADLINE: '2s', RUST_LOG: 'info,access=error' };
  const kernel = {
    ...settings,
    KMESH_KERNEL_PATH: 'true',
    KMESH_CGROUP: mesh.lab.cgroup,
    KMESH_PINS: `${await mesh.lab.bpffs()}/kmesh`,
  };
  // It finds no programs of an earlier daemon in its pin directory and, like a ztunnel, does not change them.
  const other = { ...settings, KMESH_KERNEL_PATH: 'false', KMESH_CGROUP: place.node.cgroup };
  const beyond = await mesh.daemon(far, { environment: { KMESH_KERNEL_PATH: 'false' } });
  let current = await mesh.daemon(place, { environment: kernel });
  await Promise.all([current.ready(), beyond.ready()]);
  const dialing = client.startDialing({
    to: [`${server.addresses.v4}:8080`, `[${server.addresses.v6}]:8080`],
    connections: 0,
    concurrency: 4,
    mode: 'http',
  });
  for (const environment of [other, kernel]) {
    await untilServed([server], 50);
    const next = await mesh.daemon(place, { environment });
    await next.ready();
    await untilServed([server], 200);
    current.kill('SIGTERM');
    assert.deepEqual(await current.ended, { code: 0, signal: null });
    await untilServed([server], 50);
    current = next;
  }
  const report = await dialing.stop();
  assert.deepEqual(report.failures, []);
});
