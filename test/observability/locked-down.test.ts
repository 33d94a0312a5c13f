import assert from 'node:assert/strict';
import { once } from 'node:events';
import { test } from 'node:test';
import { kmeshSources } from '@kmesh/lab';
import { pinnedNode } from '@kmesh/lab/testing/daemon/pinned-node.ts';
import { exchange, open } from '@kmesh/lab/testing/traffic/echo.ts';

/** As in a kernel that is locked down to confidentiality. */
const withoutKernelReads = {
  NODE_OPTIONS: `--import=${import.meta.resolve('@kmesh/lab/testing/kernel/without-kernel-reads.ts')}`,
};

const sides = [
  { reporter: 'source', direction: 'outbound' },
  { reporter: 'destination', direction: 'inbound' },
] as const;

test('if programs may not read kernel memory, a connection is counted when it opens and its bytes when it has closed, and the log says so', async () => {
  await using node = await pinnedNode(withoutKernelReads, kmeshSources);
  const { mesh, client, servers } = node;
  const { proxy } = mesh.node();
  assert.match(proxy.log, /live flows cannot be read.*locked down to confidentiality/);
  const watch = await proxy.watch();
  const socket = await open(client, servers[0].addresses.v4, 8081);
  await exchange(socket);
  for (const { reporter } of sides) {
    await proxy.until(`the ${reporter} is open`, async () => {
      return (await watch.growth('istio_tcp_connections_opened_total', { reporter })) === 1;
    });
  }
  const closed = once(socket, 'close');
  socket.resume();
  socket.end();
  await closed;
  for (const { reporter, direction } of sides) {
    const { opened, received, sent } = await watch.traffic(reporter);
    assert.deepEqual([opened, received, sent], [1, 11, 22], reporter);
    const { fields } = await watch.line(direction);
    assert.deepEqual([fields['path'], fields['src.identity'] !== undefined], ['kernel', true]);
  }
});
