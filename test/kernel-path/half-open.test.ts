import assert from 'node:assert/strict';
import type { Socket } from 'node:net';
import { test } from 'node:test';
import { eventually } from '@kmesh/api/testing';
import type { Pod } from '@kmesh/lab';
import { buildOther, otherFlows, otherHandshakes } from '@kmesh/lab/testing/daemon/other-build.ts';
import { pinnedNode, takesKernelPath } from '@kmesh/lab/testing/daemon/pinned-node.ts';
import { exchange } from '@kmesh/lab/testing/traffic/echo.ts';
import { ending } from '@kmesh/lab/testing/tunnel/traffic.ts';
import { listTcpSockets, openNetworkNamespace, tcpState } from '@kmesh/linux';

const CONNECTIONS = 8;

/**
 * Drops first packets after the program at the interface and before all rules of Kmesh and of capture: handshakes begin
 * and do not complete.
 */
const HOLD = `table inet hold {
  chain prerouting {
    type filter hook prerouting priority -400
    tcp dport 8081 tcp flags & (syn | ack) == syn drop
  }
}
`;

const versions = [
  // Handshakes that the wire admitted are in a shared map: the next version's programs find and judge them again.
  { what: 'the next version reads handshakes in the same way', edit: otherFlows, how: 'served' },
  // The retransmitted packet is judged like a first one.
  { what: 'the next version reads handshakes in another way', edit: otherHandshakes, how: 'served' },
] as const;

for (const { what, edit, how } of versions) {
  test(`NEG-26: half-open connections of a killed daemon are ${how}, never admitted without a verdict: ${what}`, async () => {
    const other = buildOther(edit);
    await using node = await pinnedNode();
    const { mesh, client, servers } = node;
    const [server] = servers;
    const { proxy } = mesh.node();
    await server.run('nft', ['-f', '-'], { input: HOLD });
    const outcomes = Array.from({ length: CONNECTIONS }, () => outcomeOf(client, server));
    await eventually('all are half open', async () => (await halfOpen(client)) >= CONNECTIONS);

    proxy.kill('SIGKILL');
    await proxy.ended;
    proxy.executable = other.main;
    proxy.start();
    await proxy.ready();
    await takesKernelPath(mesh, client);
    assert.equal(await halfOpen(client), CONNECTIONS);
    await server.run('nft', ['delete', 'table', 'inet', 'hold']);
    assert.deepEqual(
      await Promise.all(outcomes),
      outcomes.map(() => how),
    );
    // No entry of them remains that would admit or refuse the next one.
    assert.equal(await outcomeOf(client, server), 'served');
  });
}

async function halfOpen(client: Pod): Promise<number> {
  using namespace = openNetworkNamespace(client.namespacePath);
  return (await listTcpSockets(namespace, { states: [tcpState.synSent] })).count;
}

async function outcomeOf(client: Pod, server: Pod): Promise<'served' | 'cut' | 'silent'> {
  let socket: Socket;
  try {
    // The kernel retransmits a SYN after 1, 3, 7 and 15 seconds.
    socket = await client.connect({ host: server.addresses.v4, port: 8081, timeoutMs: 40_000 });
  } catch (error) {
    // The reset may arrive before the connect returns.
    assert.equal((error as NodeJS.ErrnoException).code, 'ECONNRESET');
    return 'cut';
  }
  socket.on('error', () => undefined);
  try {
    await exchange(socket);
    return 'served';
  } catch {
    return (await ending(socket)) === 'open' ? 'silent' : 'cut';
  } finally {
    socket.destroy();
  }
}
