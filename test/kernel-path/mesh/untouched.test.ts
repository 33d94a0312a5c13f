import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createLab, installRedirect, startKernelMesh } from '@kmesh/lab';

/** Two pods with istio-cni's rules, enrolled in the kernel path: everything that can change packets is active. */
async function capturedPods() {
  const lab = await createLab();
  const node = await lab.node();
  const mesh = await startKernelMesh(lab);
  const [client, server] = [await node.pod({ name: 'client' }), await node.pod({ name: 'server' })];
  for (const pod of [client, server]) await installRedirect(pod);
  await mesh.enrol(client, server);
  return {
    ...{ lab, node, mesh, client, server },
    async [Symbol.asyncDispose]() {
      await mesh.close();
      await lab.close();
    },
  };
}

/** An ICMP echo request; the kernel fills in the checksum of ICMPv6 only. */
function echoRequest(type: 8 | 128): Buffer {
  const bytes = Buffer.from([type, 0, 0, 0, 0x4b, 0x4d, 0, 1, ...Buffer.from('kmesh lab!')]);
  if (type === 128) return bytes;
  let sum = 0;
  for (let at = 0; at < bytes.length; at += 2) sum += bytes.readUInt16BE(at);
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >>> 16);
  bytes.writeUInt16BE(~sum & 0xffff, 2);
  return bytes;
}

test('NEG-36: UDP, ICMP and SCTP from captured pods are not changed', async () => {
  await using world = await capturedPods();
  const { client, server } = world;
  await server.serve({ port: 8080, protocol: 'udp' });
  for (const family of ['v4', 'v6'] as const) {
    const [from, to] = [client.addresses[family], server.addresses[family]];
    assert.equal(await client.exchangeDatagram({ host: to, port: 8080, message: 'hi' }), 'server hi');

    const icmp =
      family === 'v4'
        ? ({ protocol: 1, request: 8, reply: 0 } as const)
        : ({ protocol: 58, request: 128, reply: 129 } as const);
    using replies = await client.listenRaw(family === 'v4' ? 4 : 6, icmp.protocol);
    const request = echoRequest(icmp.request);
    await client.sendRaw(to, icmp.protocol, request);
    const reply = await replies.packet(({ from: ip, payload }) => ip === to && payload[0] === icmp.reply);
    assert.deepEqual(reply.payload.subarray(4), request.subarray(4));

    using association = await server.listenRaw(family === 'v4' ? 4 : 6, 132);
    const init = Buffer.from('2328003900000000d3adbeef01000014', 'hex');
    await client.sendRaw(to, 132, init);
    const arrived = await association.packet(({ from: ip }) => ip === from);
    assert.deepEqual(arrived.payload, init);
  }
  assert.deepEqual(world.mesh.decisions(), {});
});

test('NEG-37: packets of a captured pod to IPv6 link-local and multicast addresses are not changed', async () => {
  await using world = await capturedPods();
  const { client, server } = world;
  await server.serve({ port: 8080, protocol: 'udp' });
  const { stdout } = await server.run('ip', ['-6', '-o', 'addr', 'show', 'dev', 'eth0', 'scope', 'link']);
  const linkLocal = /inet6 (fe80:[^/]+)/.exec(stdout)?.[1] ?? '';
  const answer = await client.exchangeDatagram({ host: `${linkLocal}%eth0`, port: 8080, message: 'near' });
  assert.equal(answer, 'server near');

  // The answer has a unicast source address, which a socket connected to the group does not receive.
  await assert.rejects(
    client.exchangeDatagram({ host: 'ff02::1%eth0', port: 8080, message: 'all', timeoutMs: 200 }),
    { code: 'ETIMEDOUT' },
  );
  assert.deepEqual(
    (await server.counts()).map(({ bytes }) => bytes),
    ['near'.length + 'all'.length],
  );

  using solicited = await server.listenRaw(6, 58);
  await client.run('ip', ['neigh', 'flush', 'dev', 'eth0']);
  await client.exchangeDatagram({ host: server.addresses.v6, port: 8080, message: 'again' });
  await solicited.packet(({ payload }) => payload[0] === 135);
  assert.deepEqual(world.mesh.decisions(), {});
});

test('NEG-37: a meshed pod reaches a link-local address over TCP unchanged', async () => {
  await using lab = await createLab();
  const node = await lab.node();
  await using mesh = await startKernelMesh(lab);
  const [client, server] = [await node.pod({ name: 'client' }), await node.pod({ name: 'server' })];
  await mesh.enrol(client, server);
  await server.serve({ port: 8080, mode: 'http' });
  const { stdout } = await server.run('ip', ['-6', '-o', 'addr', 'show', 'dev', 'eth0', 'scope', 'link']);
  const linkLocal = /inet6 (fe80:[^/]+)/.exec(stdout)?.[1] ?? '';
  const socket = await client.connect({ host: `${linkLocal}%eth0`, port: 8080 });
  assert.equal(socket.remoteAddress?.split('%')[0], linkLocal);
  socket.destroy();
  assert.deepEqual(mesh.decisions(), { outsideUnknown: 1 });
});
