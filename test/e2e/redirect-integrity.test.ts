import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createLab, startKernelMesh } from '@kmesh/lab';
import { readRedirectCounts } from '@kmesh/orchestration';
import { dialOracle, serveOracle } from './redirect-oracle.ts';

const styles = [
  'plain',
  'poll',
  'edge',
  'vector',
  'peek',
  'all',
  'lowat',
  'splice',
  'slow',
  'sendfile',
  'duplex',
  'mix',
] as const;

/** Readers that redirect serves; all others must be left to TCP. */
const redirected = new Set<string>(['plain', 'poll', 'edge', 'vector', 'slow', 'sendfile', 'mix']);

test('BPF-04: redirect loses, doubles and reorders no byte, however the application reads and sends', async (t) => {
  await using lab = await createLab();
  const node = await lab.node();
  await using mesh = await startKernelMesh(lab, { redirect: 3 });
  const client = await node.pod({ name: 'client' });
  const server = await node.pod({ name: 'server' });
  await mesh.enrol(client, server);
  for (const [seed, style] of styles.entries()) {
    await t.test(style, async () => {
      const before = readRedirectCounts(mesh.object);
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
      const messages = readRedirectCounts(mesh.object).messages - before.messages;
      if (redirected.has(style)) assert.ok(messages > 100, `only ${messages} messages were redirected`);
    });
  }
});
