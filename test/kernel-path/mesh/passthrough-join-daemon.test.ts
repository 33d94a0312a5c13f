import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { createLab, type NodeProxy, startMesh } from '@kmesh/lab';
import { connect, doubleEcho, listen, readExactly } from '@kmesh/lab/testing/tunnel/traffic.ts';

/** More exchanges than it takes for a connection to be joined. */
const EXCHANGES = 400;

/** A daemon without a kernel path, a captured server, and one long plaintext exchange with it. */
async function exchange(
  environment: Record<string, string>,
  look: (proxy: NodeProxy, metrics: string) => Promise<void>,
): Promise<void> {
  await using lab = await createLab();
  await lab.node();
  await using mesh = await startMesh(lab, { kernelPath: false, environment });
  const { pod: server } = await mesh.pod({ name: 'server' });
  const { pod: client } = await mesh.pod({ name: 'client', captured: false });
  const listening = await listen(server, 8080, doubleEcho);
  const socket = await connect(client, server.addresses.v4, 8080);
  try {
    for (let count = 0; count < EXCHANGES; count++) {
      socket.write('hello world');
      await readExactly(socket, 22);
    }
    const response = await mesh.proxyOf(server).http(15020, '/metrics');
    await look(mesh.proxyOf(server), response.body);
  } finally {
    socket.destroy();
    listening.close();
  }
}

describe('the daemon and plaintext exchanges', () => {
  test('joins them without any hook, and counts it', async () => {
    await exchange({}, async (_proxy, metrics) => {
      assert.match(metrics, /^kmesh_passthrough_joins_total 1$/m);
    });
  });

  test('copies every byte with KMESH_PASSTHROUGH_JOIN=false', async () => {
    await exchange({ KMESH_PASSTHROUGH_JOIN: 'false' }, async (_proxy, metrics) => {
      assert.doesNotMatch(metrics, /kmesh_passthrough/);
    });
  });

  test('copies where the kernel cannot join, and says why', async () => {
    await exchange({ KMESH_WITHOUT: 'stream-verdict' }, async (proxy, metrics) => {
      assert.match(metrics, /^kmesh_passthrough_joins_total 0$/m);
      const overview = JSON.parse((await proxy.http(15000, '/kmesh/overview')).body) as {
        capabilities: { name: string; reason: string }[];
      };
      const row = overview.capabilities.find(({ name }) => name.startsWith('plaintext exchanges'));
      assert.match(row?.reason ?? '', /stream verdict programs.*KMESH_WITHOUT/);
    });
  });
});
