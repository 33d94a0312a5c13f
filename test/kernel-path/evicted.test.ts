/**
 * The table of connections between pods of a node is full, and the least recently used entry was evicted: a live
 * connection without an entry must end; it must neither hang nor continue without being judged.
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

  /** Sends first packets of three times as many connections as the table holds; with `used`, also a second packet of each. */
  async function fill(...used: readonly 'used'[]): Promise<void> {
    using table = openPinnedMap(`${layoutOf(node.pins, 'handshakes')}/map-connections`);
    const count = `${3 * table.info.maxEntries}`;
    const parameters = ['eth0', flooder.addresses.v4, server.addresses.v4, count, ...used];
    await flooder.run(flood, parameters, { timeoutMs: 120_000 });
  }

  /** Whether the table has a connection between these ports. */
  function isKnown({ localPort = 0, remotePort = 0 }: Socket): boolean {
    using table = openPinnedMap(`${layoutOf(node.pins, 'handshakes')}/map-connections`);
    const ports = [localPort, remotePort].sort((left, right) => left - right);
    for (const [key] of table.entries()) {
      const view = new DataView(key.buffer, key.byteOffset, key.byteLength);
      // struct kmesh_connection_key: two addresses, then the ports.
      const found = [view.getUint16(32), view.getUint16(34)].sort((left, right) => left - right);
      if (found[0] === ports[0] && found[1] === ports[1]) return true;
    }
    return false;
  }

  async function evict(socket: Socket): Promise<void> {
    // The kernel only approximates the least recently used entry: another flood may be needed.
    for (let floods = 0; floods < 5 && isKnown(socket); floods++) await fill('used');
    assert.equal(isKnown(socket), false, 'it is evicted');
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
    assert.equal(isKnown(live), true);
    await evict(live);
    live.write('more');
    assert.equal(await ending(live, 5_000), 'reset');
    const { client, served } = await idle();
    await evict(client);
    client.write('more');
    assert.equal(await ending(client, 5_000), 'reset');
    // The server's end is reset when it sends, as if its client no longer existed.
    served.write('news');
    assert.notEqual(await ending(served, 5_000), 'open');
    await takesKernelPath(node.mesh, node.client);
  });

  test('ends at both ends when its server speaks first', async () => {
    const { client, served } = await idle();
    await evict(client);
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
    await evict(client);
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
    const flooded = fill().finally(() => {
      flooding = false;
    });
    while (flooding) await exchange(used);
    await flooded;
    await exchange(unused);
    for (const socket of [used, unused]) socket.destroy();
  });
});
