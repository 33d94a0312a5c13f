/** Urgent data, peeking and half-closes on sockets of the kernel path, compared with sockets of no mesh. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { test } from 'node:test';
import { createLab, endpointText, type Pod, startMesh } from '@kmesh/lab';
import { takesKernelPath } from '@kmesh/lab/testing/daemon/pinned-node.ts';
import { buildNative } from '@kmesh/lab/testing/kernel/dialer.ts';

const PORT = 8090;

test('BPF-04: urgent data, SIOCATMARK, MSG_PEEK, SIOCINQ and half-closes between two pods of a node are those of plain TCP', async () => {
  const urgent = buildNative('urgent', new URL('native/', import.meta.url));
  await using lab = await createLab();
  await lab.node();
  await using mesh = await startMesh(lab, { kernelPath: true });
  const { pod: client } = await mesh.pod({ name: 'client' });
  const { pod: server } = await mesh.pod({ name: 'server' });
  const [plain, other] = [
    (await mesh.pod({ name: 'plain', captured: false })).pod,
    (await mesh.pod({ name: 'other', captured: false })).pod,
  ];
  await server.serve({ port: 8080, mode: 'http' });
  await takesKernelPath(mesh, client, `${server.addresses.v4}:8080`);
  for (const pod of [server, other]) {
    const { stdout } = pod.spawn(urgent, ['serve', String(PORT)]);
    assert.ok(stdout);
    await once(stdout, 'data');
  }
  const stories = async (from: Pod, to: string) =>
    (await from.run(urgent, ['dial', to, String(PORT)])).stdout.trim().split('\n');
  for (const family of ['v4', 'v6'] as const) {
    const expected = await stories(plain, other.addresses[family]);
    assert.equal(expected.length, 3);
    // Also compared with fixed results, so that two empty outputs do not count as equal.
    assert.match(
      expected[0] ?? '',
      /^p: inq=2 peek=2:ab at=0 read=2:ab at=1 urgent=1:c again=-1 read=2:de end=0$/,
    );
    assert.match(expected[2] ?? '', /empty=-1/);
    const watch = await mesh.node().proxy.watch();
    assert.deepEqual(await stories(client, server.addresses[family]), expected);
    const line = await watch.line('outbound', { 'dst.addr': endpointText(server.addresses[family], PORT) });
    assert.equal(line.fields['path'], 'kernel');
  }
});
