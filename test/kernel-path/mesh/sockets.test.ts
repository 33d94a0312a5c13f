import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createLab, endpointText, keyOf, serviceOf, startKernelMesh, workloadOf } from '@kmesh/lab';

/** One node with an enrolled client and a service whose addresses are also those of a host outside the mesh. */
async function shadowedService() {
  const lab = await createLab();
  const node = await lab.node();
  const mesh = await startKernelMesh(lab);
  const outside = await lab.outsideHost('outside');
  const [client, stranger, server] = [
    await node.pod({ name: 'client' }),
    await node.pod({ name: 'stranger' }),
    await node.pod({ name: 'server' }),
  ];
  const service = serviceOf({ name: 'shop', vips: outside.addresses, ports: { 80: 8080 } });
  await mesh.apply(service, workloadOf(server, { services: { [keyOf(service)]: {} } }));
  await mesh.enrol(client);
  const to = service.vips.map(({ ip }) => endpointText(ip, 80));
  return {
    ...{ lab, node, mesh, outside, client, stranger, server, service, to },
    async [Symbol.asyncDispose]() {
      await mesh.close();
      await lab.close();
    },
  };
}

test('a process outside the mesh reaches the dialled address, beside a meshed one that is balanced', async () => {
  await using world = await shadowedService();
  await world.outside.serve({ port: 80 });
  await world.server.serve({ port: 8080 });
  const balanced = await world.client.dial({ to: world.to, connections: 10 });
  assert.deepEqual(balanced.byEndpoint, { server: 10 });
  const before = world.mesh.decisions();
  for (const untouched of [world.stranger, world.node, world.outside]) {
    const report = await untouched.dial({ to: world.to, connections: 4 });
    assert.deepEqual(report.byEndpoint, { outside: 4 }, untouched.name);
  }
  assert.deepEqual(world.mesh.decisions(), before);
  world.mesh.unenrol(world.client);
  assert.deepEqual((await world.client.dial({ to: world.to, connections: 4 })).byEndpoint, { outside: 4 });
});

test('UDP of a meshed pod is not changed, also to the address and port of a service', async () => {
  await using world = await shadowedService();
  await world.outside.serve({ port: 80, protocol: 'udp' });
  await world.server.serve({ port: 8080, protocol: 'udp' });
  for (const { ip } of world.service.vips) {
    const answer = await world.client.exchangeDatagram({ host: ip, port: 80, message: 'who' });
    assert.equal(answer, 'outside who');
  }
  assert.deepEqual(world.mesh.decisions(), {});
});

test('a server-first protocol: the banner arrives before the client has sent a byte', async () => {
  await using world = await shadowedService();
  const heard: string[] = [];
  await world.server.listen({ port: 8080 }, (socket) => {
    socket.write('220 ready\n');
    socket.on('data', (chunk) => {
      heard.push(chunk.toString());
      socket.end('221 bye\n');
    });
  });
  for (const { ip } of world.service.vips) {
    const socket = await world.client.connect({ host: ip, port: 80 });
    const [banner] = await new Promise<string[]>((resolve) =>
      socket.once('data', (data) => resolve([String(data)])),
    );
    assert.equal(banner, '220 ready\n');
    socket.end('quit');
    const [rest] = (await socket.toArray()) as Buffer[];
    assert.equal(String(rest), '221 bye\n');
  }
  assert.deepEqual(heard, ['quit', 'quit']);
});

test('getpeername shows the dialled address in IPv4, IPv6 and IPv4-mapped IPv6, and the server sees the pod', async () => {
  await using world = await shadowedService();
  await world.server.serve({ port: 8080, mode: 'http' });
  for (const { ip } of world.service.vips) {
    const socket = await world.client.connect({ host: ip, port: 80 });
    assert.equal(socket.remoteAddress, ip);
    assert.equal(socket.remotePort, 80);
    socket.destroy();
  }
  const [v4 = ''] = world.to;
  const mapped = await world.client.dial({ to: v4, connections: 50, mode: 'http', mapped: true });
  assert.equal(mapped.wrongPeer, 0);
  assert.deepEqual(mapped.byEndpoint, { server: 50 });
  const answer = await world.client.http({ host: world.service.vips[0]?.ip ?? '', port: 80 });
  const { remote, local } = JSON.parse(answer.body) as Record<string, string>;
  assert.match(remote ?? '', new RegExp(`${world.client.addresses.v4.replaceAll('.', '\\.')}\\]?:`));
  assert.match(local ?? '', new RegExp(`${world.server.addresses.v4.replaceAll('.', '\\.')}\\]?:8080$`));
});

test('half-close and large answers work on a balanced connection', async () => {
  await using world = await shadowedService();
  await world.server.serve({ port: 8080, mode: 'halfclose' });
  const report = await world.client.dial({
    to: world.to,
    connections: 20,
    concurrency: 4,
    mode: 'halfclose',
    bytes: 1_000_000,
  });
  assert.deepEqual(report.failures, []);
  assert.deepEqual(
    (await world.server.counts()).map(({ bytes }) => bytes),
    [20_000_000],
  );
});

test('NEG-19: dual-stack pods and services keep the family of the call, and a happy-eyeballs client is balanced in both', async () => {
  await using world = await shadowedService();
  await world.server.serve({ port: 8080, mode: 'http' });
  for (const [at, family] of (['v4', 'v6'] as const).entries()) {
    const answer = await world.client.http({ host: world.service.vips[at]?.ip ?? '', port: 80 });
    const { remote } = JSON.parse(answer.body) as { remote: string };
    assert.ok(remote.includes(world.client.addresses[family]), `${family}: the server saw ${remote}`);
  }
  const happyEyeballs = async (order: readonly string[]) => {
    const lookup = order.map((ip) => ({ address: ip, family: ip.includes(':') ? 6 : 4 }));
    const program = `require('node:net').connect({ host: 'shop', port: 80, autoSelectFamily: true,
      lookup: (name, options, done) => done(null, ${JSON.stringify(lookup)}) })
      .on('connect', function () { console.log(this.remoteAddress); this.destroy(); })`;
    return (await world.client.run(process.execPath, ['-e', program])).stdout.trim();
  };
  const [v4 = '', v6 = ''] = world.service.vips.map(({ ip }) => ip);
  assert.equal(await happyEyeballs([v6, v4]), v6);
  assert.equal(await happyEyeballs([v4, v6]), v4);
  const onlyV4 = workloadOf(world.server, {
    addresses: [world.server.addresses.v4],
    services: { [keyOf(world.service)]: {} },
  });
  await world.mesh.apply(onlyV4);
  assert.equal(await happyEyeballs([v6, v4]), v4, 'no endpoint in IPv6: refused at once, so IPv4 is tried');
});
