import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import type { Host, Pod } from '@kmesh/lab';
import { type PinnedNode, pinnedNode } from '@kmesh/lab/testing/daemon/pinned-node.ts';
import { exchange, open } from '@kmesh/lab/testing/traffic/echo.ts';
import { handoffScene } from '@kmesh/lab/testing/traffic/handoff-scene.ts';

/** Returns the congestion control of a host's established sockets whose peer is `peer`. */
function algorithmsTowards(host: Host, peer: Host): Promise<string[]> {
  return algorithmsOf(host, `dst ${peer.addresses.v4}`);
}

/** Returns the congestion control of a host's established sockets that a filter of `ss` selects. */
async function algorithmsOf(host: Host, filter: string): Promise<string[]> {
  const { stdout } = await host.run('ss', ['-tinH', 'state', 'established', filter]);
  return [...stdout.matchAll(/^\s+.*?\b(bbr|reno|cubic)\b/gm)].map(([, name]) => name ?? '');
}

describe('congestion control on a node whose default is BBR', () => {
  let scene: PinnedNode;
  let client: Pod;
  let server: Pod;

  before(async () => {
    scene = await pinnedNode();
    ({ client } = scene);
    [server] = scene.servers;
    for (const pod of [client, server])
      await pod.run('sysctl', ['-qw', 'net.ipv4.tcp_congestion_control=bbr']);
  });
  after(async () => {
    await scene?.[Symbol.asyncDispose]();
  });

  /** Returns the congestion control of both ends of one connection. */
  async function endsOf(to: Host, port: number): Promise<string[]> {
    const socket = await open(client, to.addresses.v4, port);
    try {
      await exchange(socket);
      return [...(await algorithmsTowards(client, to)), ...(await algorithmsTowards(to, client))];
    } finally {
      socket.destroy();
    }
  }

  test('both ends of a connection between two pods of the node use reno', async () => {
    assert.deepEqual(await endsOf(server, 8081), ['reno', 'reno']);
  });

  test('an end whose route selects BBR keeps it', async () => {
    const { stdout } = await client.run('ip', ['route', 'get', server.addresses.v4]);
    const way = / (via \S+ )?dev \S+/.exec(stdout)?.[0].trim().split(' ') ?? [];
    await client.run('ip', ['route', 'add', server.addresses.v4, ...way, 'congctl', 'lock', 'bbr']);
    assert.deepEqual(await endsOf(server, 8081), ['bbr', 'reno']);
    await client.run('ip', ['route', 'del', server.addresses.v4]);
  });

  test('a connection to a host outside the mesh is not changed', async () => {
    const outside = await scene.lab.outsideHost('outside');
    await outside.run('sysctl', ['-qw', 'net.ipv4.tcp_congestion_control=bbr']);
    await outside.serve({ port: 8081, mode: 'double' });
    assert.deepEqual(await endsOf(outside, 8081), ['bbr', 'bbr']);
  });
});

test('applications send by reno to their pod’s proxy, which sends by BBR to the other node', async () => {
  await using scene = await handoffScene(false);
  const { client, far } = scene;
  for (const pod of [client, far]) await pod.run('sysctl', ['-qw', 'net.ipv4.tcp_congestion_control=bbr']);
  // Sockets that listened before keep the host's default.
  await far.serve({ port: 8081, mode: 'double' });
  const socket = await open(client, far.addresses.v4, 8081);
  try {
    await exchange(socket);
    assert.deepEqual(await algorithmsOf(client, 'dport = :15001'), ['reno'], 'the client');
    assert.deepEqual(await algorithmsOf(client, 'dport = :15008'), ['bbr'], 'its proxy');
    assert.deepEqual(await algorithmsOf(far, 'sport = :8081'), ['reno'], 'the server');
  } finally {
    socket.destroy();
  }
});
