import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createLab, startKernelMesh } from '@kmesh/lab';
import { dialOracle, oracleStyles, serveOracle } from '@kmesh/lab/testing/kernel/integrity-oracle.ts';
import { lose, someSegments } from '@kmesh/lab/testing/traffic/broken-network.ts';

/** Two enrolled pods of one node. */
async function twoPods() {
  await using stack = new AsyncDisposableStack();
  const lab = stack.use(await createLab());
  const node = await lab.node();
  const mesh = stack.use(await startKernelMesh(lab));
  const client = await node.pod({ name: 'client' });
  const server = await node.pod({ name: 'server' });
  await mesh.enrol(client, server);
  const owned = stack.move();
  return { client, server, [Symbol.asyncDispose]: () => owned.disposeAsync() };
}

test('BPF-04: no byte between two pods of a node is lost, doubled or reordered, in any style of reading and sending', async (t) => {
  await using scene = await twoPods();
  const { client, server } = scene;
  for (const [seed, style] of oracleStyles.entries()) {
    await t.test(style, async () => {
      const oracle = await serveOracle(server, 7000 + seed);
      const dialled = await dialOracle(client, server, 7000 + seed, {
        style,
        connections: 8,
        rounds: 150,
        largest: 40_000,
        seed,
      });
      const served = await oracle.finish();
      assert.deepEqual(
        [dialled.failures, served.failures, dialled.connections, served.connections],
        [0, 0, 8, 8],
      );
    });
  }
});

test('BPF-04: every byte between two pods of a node arrives despite lost segments', async (t) => {
  await using scene = await twoPods();
  const { client, server } = scene;
  for (const pod of [client, server]) await lose(pod, someSegments);
  for (const [seed, style] of (['poll', 'slow', 'mix', 'duplex', 'turns'] as const).entries()) {
    await t.test(style, async () => {
      const oracle = await serveOracle(server, 7000 + seed);
      const dial = { style, connections: 32, rounds: 40, largest: 40_000, seed };
      const dialled = await dialOracle(client, server, 7000 + seed, dial);
      const served = await oracle.finish();
      assert.deepEqual([dialled.failures, served.failures, served.connections], [0, 0, 32]);
    });
  }
});
