import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createLab, startKernelMesh } from '@kmesh/lab';
import { dialOracle, oracleStyles, serveOracle } from '@kmesh/lab/testing/kernel/integrity-oracle.ts';
import { lose, someSegments } from '@kmesh/lab/testing/kernel/lossy.ts';
import { readExactly } from '@kmesh/lab/testing/tunnel/traffic.ts';
import { type KernelCapacities, readRedirectCounts } from '@kmesh/runtime';

/** All but `inq`, which redirect cannot serve: bpf/README.md says why. */
const styles = oracleStyles.filter((style) => style !== 'inq');

/** Readers that redirect serves; all others must be left to TCP. */
const redirected = new Set<string>(['poll', 'edge', 'vector', 'slow', 'sendfile', 'mix']);

/** Two enrolled pods of one node. */
async function twoPods(options: Parameters<typeof startKernelMesh>[1]) {
  await using stack = new AsyncDisposableStack();
  const lab = stack.use(await createLab());
  const node = await lab.node();
  const mesh = stack.use(await startKernelMesh(lab, options));
  const client = await node.pod({ name: 'client' });
  const server = await node.pod({ name: 'server' });
  await mesh.enrol(client, server);
  const owned = stack.move();
  return { mesh, client, server, [Symbol.asyncDispose]: () => owned.disposeAsync() };
}

test('BPF-04: redirect loses, doubles and reorders no byte, however the application reads and sends', async (t) => {
  await using scene = await twoPods({ redirect: 3 });
  const { mesh, client, server } = scene;
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
      else if (style !== 'duplex') assert.equal(messages, 0);
    });
  }
});

test('BPF-04: redirect keeps every byte where segments are lost', async (t) => {
  await using scene = await twoPods({ redirect: 3 });
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

/** Traffic of small messages between two enrolled pods; what redirect counted for it. */
async function talk(redirect: number | undefined, limits: KernelCapacities = {}) {
  await using scene = await twoPods({
    capacities: limits,
    ...(redirect === undefined ? {} : { redirect }),
  });
  const { mesh, client, server } = scene;
  await server.serve({ port: 8080, mode: 'http' });
  const to = [`${server.addresses.v4}:8080`, `[${server.addresses.v6}]:8080`];
  const report = await client.dial({ to, mode: 'http', connections: 40, requests: 100, concurrency: 8 });
  return { failures: report.failures, counts: readRedirectCounts(mesh.object) };
}

test('BPF-05: more than 80 % of the bytes of small messages are redirected when it is on, none when it is off', async () => {
  const on = await talk(3);
  assert.deepEqual(on.failures, []);
  assert.ok(on.counts.bytes / (on.counts.bytes + on.counts.plainBytes) > 0.8, JSON.stringify(on.counts));
  const off = await talk(undefined);
  assert.deepEqual([off.failures, off.counts.bytes, off.counts.joined], [[], 0, 0]);
});

test('BPF-07: connections for which the sock map has no room go by TCP, and are counted', async () => {
  const { failures, counts } = await talk(3, { peers: 4 } as KernelCapacities);
  assert.deepEqual(failures, []);
  assert.ok(counts.full > 0, JSON.stringify(counts));
});

test('BPF-06: sockets that are taken out of the sock map while messages pass go on by TCP', async () => {
  await using lab = await createLab();
  const node = await lab.node();
  await using mesh = await startKernelMesh(lab, { redirect: 3 });
  const client = await node.pod({ name: 'client' });
  const server = await node.pod({ name: 'server' });
  await server.serve({ port: 8080, mode: 'double' });
  await mesh.enrol(client, server);
  const socket = await client.connect({ host: server.addresses.v4, port: 8080 });
  const exchange = async () => {
    socket.write('numbered');
    assert.equal((await readExactly(socket, 16)).toString(), 'numberednumbered');
  };
  for (let round = 0; round < 20; round++) await exchange();
  const before = readRedirectCounts(mesh.object);
  assert.ok(before.messages > 10);
  const peers = mesh.object.map('peers');
  const place = new Uint32Array(1);
  const key = new Uint8Array(place.buffer);
  let taken = 0;
  for (let index = 0; index < peers.maxEntries; index++) {
    place[0] = index;
    if (peers.get(key) !== undefined && peers.delete(key)) taken++;
  }
  assert.equal(taken, 2);
  for (let round = 0; round < 20; round++) await exchange();
  const { messages } = readRedirectCounts(mesh.object);
  assert.ok(messages - before.messages <= 1, `${messages - before.messages} messages were redirected still`);
  socket.destroy();
});
