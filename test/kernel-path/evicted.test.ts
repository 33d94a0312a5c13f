/**
 * The table of connections between pods of a node is full, and the least recently used entry was evicted: a live
 * connection without an entry must end; it must neither hang nor continue without being judged. Connections that have
 * ended are evicted before live ones.
 */
import assert from 'node:assert/strict';
import type { Socket } from 'node:net';
import { after, before, describe, test } from 'node:test';
import { eventually } from '@kmesh/api/testing';
import type { Pod } from '@kmesh/lab';
import {
  layoutOf,
  type PinnedNode,
  pinnedNode,
  takesKernelPath,
} from '@kmesh/lab/testing/daemon/pinned-node.ts';
import { buildNative } from '@kmesh/lab/testing/kernel/dialer.ts';
import { exchange, open } from '@kmesh/lab/testing/traffic/echo.ts';
import { policy, without } from '@kmesh/lab/testing/traffic/policies.ts';
import { ending } from '@kmesh/lab/testing/tunnel/traffic.ts';
import { openPinnedMap } from '@kmesh/linux';

const SPEAKS = 8082;
const denial = policy('Deny', {
  principals: [{ kind: 'Exact', value: 'cluster.local/ns/default/sa/sa-client' }],
  destinationPorts: [SPEAKS],
});

describe('a live connection between two pods whose entry was evicted', () => {
  const flood = buildNative('flood', new URL('native/', import.meta.url));
  let node: PinnedNode;
  let flooder: Pod;
  let server: Pod;
  const accepted: Socket[] = [];

  before(async () => {
    node = await pinnedNode();
    [server] = node.servers;
    ({ pod: flooder } = await node.mesh.pod({ name: 'flooder' }));
    await takesKernelPath(node.mesh, flooder);
    await server.listen({ port: SPEAKS }, (socket) => {
      socket.on('error', () => undefined);
      socket.on('data', () => undefined);
      accepted.push(socket);
    });
  });
  after(() => node?.[Symbol.asyncDispose]());

  const connections = () => openPinnedMap(`${layoutOf(node.pins, 'handshakes')}/map-connections`);

  /** Sends first packets of as many connections as the table holds, times `share`; with `used`, also a second of each. */
  async function fill(from: number, share: number, ...used: readonly 'used'[]): Promise<void> {
    using table = connections();
    const numbers = [from, share].map((part) => `${part * table.info.maxEntries}`);
    const parameters = ['eth0', flooder.addresses.v4, server.addresses.v4, ...numbers, ...used];
    await flooder.run(flood, parameters, { timeoutMs: 120_000 });
  }

  /** Removes the entry of the connection between these ports, if there is one, as the kernel does. */
  function evict({ localPort = 0, remotePort = 0 }: Socket): boolean {
    using table = connections();
    const ports = [localPort, remotePort].sort((left, right) => left - right);
    for (const [key] of table.entries()) {
      const view = new DataView(key.buffer, key.byteOffset, key.byteLength);
      // struct kmesh_connection_key: two addresses, then the ports.
      const found = [view.getUint16(32), view.getUint16(34)].sort((left, right) => left - right);
      if (found[0] === ports[0] && found[1] === ports[1]) return table.delete(key);
    }
    return false;
  }

  /** Resolves after the next report of open connections: it has the bytes that a connection carries now. */
  async function reported(socket: Socket): Promise<void> {
    const watch = await node.mesh.node().proxy.watch();
    await exchange(socket);
    await eventually(
      'it is reported',
      async () => (await watch.growth('istio_tcp_received_bytes_total', { reporter: 'source' })) > 0,
    );
  }

  /** Returns both ends of an idle connection to the server that may send first. */
  async function idle(): Promise<{ client: Socket; served: Socket }> {
    const before = accepted.length;
    const client = await open(node.client, server.addresses.v4, SPEAKS);
    client.write('hello');
    await eventually('it is accepted', () => accepted.length > before);
    return { client, served: accepted[before] as Socket };
  }

  test('is reset with the next packet of its client, and the next one is served in the kernel', async () => {
    const live = await open(node.client, server.addresses.v4, 8081);
    await exchange(live);
    assert.ok(evict(live));
    live.write('more');
    assert.equal(await ending(live, 5_000), 'reset');
    const { client, served } = await idle();
    assert.ok(evict(client));
    client.write('more');
    assert.equal(await ending(client, 5_000), 'reset');
    // The server's end is reset when it sends, as if its client no longer existed.
    served.write('news');
    assert.notEqual(await ending(served, 5_000), 'open');
    await takesKernelPath(node.mesh, node.client);
  });

  test('ends at both ends when its server speaks first', async () => {
    const { client, served } = await idle();
    assert.ok(evict(client));
    const ends = Promise.all([ending(served, 10_000), ending(client, 10_000)]);
    served.write('news');
    assert.ok(
      (await ends).every((how) => how !== 'open'),
      `${await ends}`,
    );
  });

  test('NEG-10: brings its server nothing that a policy denies, and ends though nobody speaks', async () => {
    const { client, served } = await idle();
    let late = 0;
    assert.ok(evict(client));
    const ends = Promise.all([ending(served, 10_000), ending(client, 10_000)]);
    await node.mesh.apply(denial);
    served.on('data', (data: Buffer) => {
      late += data.length;
    });
    client.write('after');
    assert.ok(
      (await ends).every((how) => how !== 'open'),
      `${await ends}`,
    );
    assert.equal(late, 0);
    await node.mesh.apply(without(denial));
  });

  test('is not one that was answered, however many first packets one pod sends', async () => {
    const [used, unused] = [
      await open(node.client, server.addresses.v4, 8081),
      await open(node.client, server.addresses.v4, 8081),
    ];
    for (const socket of [used, unused]) await exchange(socket);
    let flooding = true;
    const flooded = fill(0, 3).finally(() => {
      flooding = false;
    });
    while (flooding) await exchange(used);
    await flooded;
    await exchange(unused);
    for (const socket of [used, unused]) socket.destroy();
  });

  test('is not one that is idle, however many connections one pod opens and closes', async () => {
    const idle: Socket[] = [];
    for (let count = 0; count < 20; count++) idle.push(await open(node.client, server.addresses.v4, 8081));
    for (const socket of idle) await exchange(socket);
    const beside = await open(node.client, server.addresses.v4, 8081);
    for (let filled = 0; filled < 4; filled += 0.5) {
      await fill(filled, 0.5, 'used');
      await reported(beside);
    }
    for (const socket of [...idle, beside]) {
      await exchange(socket);
      socket.destroy();
    }
  });
});
