import assert from 'node:assert/strict';
import { existsSync, readdirSync } from 'node:fs';
import { before, describe, test } from 'node:test';
import { setTimeout as pause } from 'node:timers/promises';
import type { Dialing } from '@kmesh/lab';
import {
  buildOther,
  type OtherBuild,
  otherFlows,
  otherHandshakes,
} from '@kmesh/lab/testing/daemon/other-build.ts';
import { type PinnedNode, pinnedNode, SHOP, takesKernelPath } from '@kmesh/lab/testing/daemon/pinned-node.ts';
import { exchange, open, untilServed } from '@kmesh/lab/testing/traffic/echo.ts';
import { attachedProgramIds } from '@kmesh/linux';

const CGROUP_CONNECT4 = 10;

function load({ client }: PinnedNode): Dialing {
  return client.startDialing({ to: SHOP, connections: 0, concurrency: 4, mode: 'http' });
}

/** No connection failed, and both endpoints were chosen about equally often: neither is duplicated or missing. */
async function assertBalanced(dialing: Dialing, atLeast: number): Promise<void> {
  const { failures, connections, byEndpoint } = await dialing.stop();
  assert.deepEqual(failures, []);
  assert.ok(connections >= atLeast, `${connections} connections`);
  assert.deepEqual(Object.keys(byEndpoint).sort(), ['one', 'two']);
  const share = (byEndpoint['one'] ?? 0) / connections;
  assert.ok(share > 0.4 && share < 0.6, JSON.stringify(byEndpoint));
}

function layouts(pins: string, kind: string): string[] {
  return readdirSync(pins).filter((name) => name.startsWith(`${kind}-`));
}

describe('takeover by another version', () => {
  let flows: OtherBuild;
  let handshakes: OtherBuild;

  before(() => {
    flows = buildOther(otherFlows);
    handshakes = buildOther(otherHandshakes);
  });

  test('NEG-26, NEG-27, BPF-10: upgrade to another layout after kill -9 and downgrade after a drain, under load: open connections continue, new ones are balanced, none fails', async () => {
    await using node = await pinnedNode();
    const { lab, mesh, pins, servers } = node;
    const { proxy } = mesh.node();
    const older = proxy.executable;
    const [ownLayout = ''] = layouts(pins, 'flows');
    const long = await open(node.client, servers[0].addresses.v4, 8081);
    await exchange(long);
    const dialing = load(node);

    proxy.kill('SIGKILL');
    await proxy.ended;
    await untilServed(servers, 50);
    proxy.executable = flows.main;
    proxy.start();
    await proxy.ready();
    await exchange(long);
    const [newerLayout = '', ...others] = layouts(pins, 'flows');
    assert.notEqual(newerLayout, ownLayout);
    assert.deepEqual(others, [], 'maps of the older version are gone');
    assert.equal(attachedProgramIds(lab.cgroup, CGROUP_CONNECT4).length, 1);
    await takesKernelPath(mesh, node.client);

    await proxy.stop();
    await untilServed(servers, 50);
    proxy.executable = older;
    proxy.start();
    await proxy.ready();
    await exchange(long);
    assert.deepEqual(layouts(pins, 'flows'), [ownLayout]);
    assert.equal(attachedProgramIds(lab.cgroup, CGROUP_CONNECT4).length, 1);
    await takesKernelPath(mesh, node.client);
    await assertBalanced(dialing, 500);
    long.destroy();
  });

  test('NEG-26, NEG-27: if both versions run in turn, each killed at a random moment of its start, no connection fails', async () => {
    await using node = await pinnedNode();
    const { mesh, servers } = node;
    const { proxy } = mesh.node();
    const versions = [flows.main, proxy.executable];
    const long = await open(node.client, servers[1].addresses.v4, 8081);
    const dialing = load(node);
    for (let round = 0; round < 10; round++) {
      proxy.kill('SIGKILL');
      await proxy.ended;
      proxy.executable = versions[round % 2] ?? '';
      proxy.start();
      // From before its programs are loaded to after they are attached.
      await pause(200 + Math.random() * 1_200);
      await exchange(long);
    }
    await proxy.ready();
    await takesKernelPath(mesh, node.client);
    await assertBalanced(dialing, 500);
    long.destroy();
  });

  test('NEG-26: a version that cannot share handshakes takes over through the tunnel path: no connect fails, and a live connection continues or ends', async () => {
    await using node = await pinnedNode();
    const { lab, mesh, pins, servers } = node;
    const { proxy } = mesh.node();
    const older = proxy.executable;
    const before = layouts(pins, 'handshakes');
    const dialing = load(node);
    for (const version of [handshakes.main, older]) {
      const long = await open(node.client, servers[0].addresses.v4, 8081);
      await exchange(long);
      proxy.kill('SIGKILL');
      await proxy.ended;
      await untilServed(servers, 50);
      proxy.executable = version;
      proxy.start();
      await proxy.ready();
      // The newer tables have no entry of it: a connection that the wire cannot judge is not admitted, and must not
      // hang.
      await exchange(long).catch((error) => assert.match(String(error), /ended after|ECONNRESET|EPIPE/));
      long.destroy();
      assert.equal(layouts(pins, 'handshakes').length, 1);
      assert.equal(attachedProgramIds(lab.cgroup, CGROUP_CONNECT4).length, 1);
      await takesKernelPath(mesh, node.client);
    }
    assert.deepEqual(layouts(pins, 'handshakes'), before);
    await assertBalanced(dialing, 500);
    assert.ok(existsSync(`${pins}/links/kmesh_connect4`));
  });
});
