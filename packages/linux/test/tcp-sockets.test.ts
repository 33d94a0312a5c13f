import assert from 'node:assert/strict';
import { once } from 'node:events';
import { readlinkSync } from 'node:fs';
import { createServer, type Server, Socket } from 'node:net';
import { test } from 'node:test';
import { eventually } from '@kmesh/api/testing';
import { createNetworkNamespace, type NetworkNamespace } from '../src/network-namespace.ts';
import { connectSocket, openListener } from '../src/socket.ts';
import { destroyTcpSockets, listTcpSockets, tcpState } from '../src/tcp-sockets.ts';

const MARK = 1337;

const families = [
  { name: 'IPv4', address: '127.0.0.1', bytes: [...new Array(10).fill(0), 0xff, 0xff, 127, 0, 0, 1] },
  { name: 'IPv6', address: '::1', bytes: [...new Array(15).fill(0), 1] },
] as const;

/** A connection within a namespace: both ends, and the port of the listener. */
async function connected(namespace: NetworkNamespace, address: string) {
  const server: Server = createServer({ allowHalfOpen: true });
  server.listen({ fd: openListener({ namespace, address, port: 8080 }) });
  await once(server, 'listening');
  const accepting = once(server, 'connection') as Promise<[Socket]>;
  const fd = await connectSocket({ namespace, address, port: 8080, mark: MARK });
  const link = readlinkSync(`/proc/self/fd/${fd}`);
  const client = new Socket({ fd, readable: true, writable: true, allowHalfOpen: true });
  const [accepted] = await accepting;
  for (const socket of [client, accepted]) socket.on('error', () => undefined);
  return {
    client,
    accepted,
    /** Link target of the client's descriptor. */
    link,
    [Symbol.dispose]() {
      client.destroy();
      accepted.destroy();
      server.close();
    },
  };
}

/** Remote port, state and bytes of each socket except listeners. */
async function rows(namespace: NetworkNamespace) {
  const sockets = await listTcpSockets(namespace);
  const found: {
    toServer: boolean;
    state: number;
    sent: number;
    received: number;
    cookie: number;
    mark: number;
    inode: number;
  }[] = [];
  while (sockets.next()) {
    if (sockets.state === tcpState.listening) continue;
    found.push({
      toServer: sockets.remotePort === 8080,
      state: sockets.state,
      sent: sockets.bytesAcknowledged,
      received: sockets.bytesReceived,
      cookie: sockets.cookie,
      mark: sockets.mark,
      inode: sockets.inode,
    });
  }
  return found.sort((left, right) => Number(right.toServer) - Number(left.toServer));
}

for (const { name, address, bytes } of families) {
  test(`the sockets of a namespace are listed with their addresses, states and bytes (${name})`, async () => {
    using namespace = createNetworkNamespace();
    using ends = await connected(namespace, address);
    ends.client.write(Buffer.alloc(100_000));
    ends.accepted.resume();
    await eventually(
      '100,000 bytes are acknowledged',
      async () => (await rows(namespace))[0]?.sent === 100_001,
    );
    const [client, server] = await rows(namespace);
    assert.deepEqual([client?.state, server?.state], [tcpState.established, tcpState.established]);
    // The SYN counts as one byte of the client.
    assert.deepEqual(
      [client?.sent, client?.received, server?.sent, server?.received],
      [100_001, 0, 0, 100_000],
    );
    assert.ok(
      client !== undefined && server !== undefined && client.cookie > 0 && client.cookie !== server.cookie,
    );
    assert.deepEqual([client.mark, server.mark], [MARK, 0]);
    assert.equal(`socket:[${client.inode}]`, ends.link);
    const listeners = await listTcpSockets(namespace, { states: [tcpState.listening] });
    assert.ok(listeners.next());
    assert.deepEqual([...listeners.localAddress], bytes);
    assert.deepEqual([listeners.localPort, listeners.remotePort, listeners.count], [8080, 0, 1]);
  });

  test(`FIN counts as a byte at its sender once acknowledged, and at its receiver (${name})`, async () => {
    using namespace = createNetworkNamespace();
    using ends = await connected(namespace, address);
    ends.client.end('12345');
    ends.accepted.resume();
    await eventually('half closed', async () => (await rows(namespace))[0]?.state === tcpState.finWait2);
    const [client, server] = await rows(namespace);
    assert.equal(server?.state, tcpState.closeWait);
    assert.deepEqual([client?.sent, server?.received], [7, 6]);
  });

  test(`closed sockets end for owner and peer, others stay open (${name})`, async () => {
    using namespace = createNetworkNamespace();
    using ends = await connected(namespace, address);
    using others = createNetworkNamespace();
    using kept = await connected(others, address);
    const sockets = await listTcpSockets(namespace, { states: [tcpState.established] });
    const denied: Uint8Array[] = [];
    while (sockets.next()) if (sockets.remotePort === 8080) denied.push(sockets.record);
    const errors = [ends.client, ends.accepted].map(
      (socket) =>
        new Promise<string>((resolve) =>
          socket.on('error', (error: NodeJS.ErrnoException) => resolve(error.code ?? '')),
        ),
    );
    assert.equal(await destroyTcpSockets(namespace, denied), 1);
    assert.deepEqual(await Promise.all(errors), ['ECONNABORTED', 'ECONNRESET']);
    assert.equal(await destroyTcpSockets(namespace, denied), 0, 'it has ended');
    kept.client.write('goes on');
    assert.equal(`${(await once(kept.accepted, 'data'))[0]}`, 'goes on');
  });
}

test('sockets of other namespaces are not listed', async () => {
  using namespace = createNetworkNamespace();
  using other = createNetworkNamespace();
  using _ends = await connected(other, '127.0.0.1');
  assert.equal((await listTcpSockets(namespace)).count, 0);
  assert.equal((await listTcpSockets(other)).count, 3);
});

test('a namespace that is closed while its sockets are listed is listed completely', async () => {
  const namespace = createNetworkNamespace();
  const listed = listTcpSockets(namespace);
  namespace.close();
  assert.equal((await listed).count, 0);
});
