import assert from 'node:assert/strict';
import { createInterface } from 'node:readline';
import { test } from 'node:test';
import type { Pod } from '@kmesh/lab';
import { layoutOf, pinnedNode, SHOP, takesKernelPath } from '@kmesh/lab/testing/daemon/pinned-node.ts';
import { buildNative } from '@kmesh/lab/testing/kernel/dialer.ts';
import { policy } from '@kmesh/lab/testing/traffic/policies.ts';
import { openPinnedMap } from '@kmesh/linux';

/** Enough to occupy each of the 64 slots for pending connects. */
const FAILING = 2_000;
const ALLOWED = 8080;
const DENIED = 8081;

/**
 * Connects that failed before their SYN and whose sockets are still open. `again`: the last one dials {@link DENIED}.
 */
async function holdDials(client: Pod, server: Pod) {
  const child = client.spawn(
    buildNative('hold-dials'),
    [server.addresses.v4, `${ALLOWED}`, `${FAILING}`, `${DENIED}`],
    { stdio: ['pipe', 'pipe', 'inherit'] },
  );
  if (child.stdin === null || child.stdout === null) throw new Error('no pipes');
  const { stdin } = child;
  const lines = createInterface(child.stdout)[Symbol.asyncIterator]();
  const ended = new Promise<void>((resolve) => child.once('close', () => resolve()));
  assert.equal((await lines.next()).value, `${FAILING}`);
  return {
    async again(): Promise<string | undefined> {
      stdin.write('\n');
      return (await lines.next()).value;
    },
    async [Symbol.asyncDispose]() {
      stdin.end();
      await ended;
    },
  };
}

test('BPF-10: failed connects that occupy every entry of pending decisions do not keep others off the kernel path', async () => {
  await using node = await pinnedNode();
  const { mesh, client, servers } = node;
  await mesh.node().proxy.stop('SIGKILL');
  await using _ = await holdDials(client, servers[0]);
  const report = await client.dial({ to: SHOP, mode: 'http', connections: 100 });
  assert.deepEqual(report.failures, [], 'no proxy serves the tunnel path');
});

test('BPF-10: unfinished handshakes that occupy every entry do not keep others off the kernel path', async () => {
  await using node = await pinnedNode();
  const { mesh, pins, client } = node;
  using connections = openPinnedMap(`${layoutOf(pins, 'handshakes')}/map-connections`);
  await mesh.node().proxy.stop('SIGKILL');
  const { maxEntries } = connections.info;
  const keys = new Uint8Array(maxEntries * connections.keySize);
  const view = new DataView(keys.buffer);
  for (let index = 0; index < maxEntries; index++) view.setUint32(index * connections.keySize, index + 1);
  connections.updateBatch(keys, new Uint8Array(maxEntries * connections.valueSize), maxEntries);
  const report = await client.dial({ to: SHOP, mode: 'http', connections: 100 });
  assert.deepEqual(report.failures, [], 'no proxy serves the tunnel path');
});

test('BPF-10: the decision for a failed connect is not applied to the next connect of its socket', async () => {
  await using node = await pinnedNode({ KMESH_HANDOFF: 'false' });
  const { mesh, pins, client, servers } = node;
  await mesh.apply(policy('Deny', { destinationPorts: [DENIED] }));
  await takesKernelPath(mesh, client, `${servers[0].addresses.v4}:${ALLOWED}`);
  await using dials = await holdDials(client, servers[0]);
  using connections = openPinnedMap(`${layoutOf(pins, 'handshakes')}/map-connections`);
  assert.equal(await dials.again(), '0');
  const ports = [...connections.entries()].flatMap(([key]) => {
    const view = new DataView(key.buffer, key.byteOffset);
    return [view.getUint16(32), view.getUint16(34)];
  });
  assert.ok(!ports.includes(DENIED), 'the wire admitted its first packet');
});
