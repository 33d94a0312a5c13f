import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createLab, startMesh } from '@kmesh/lab';
import { pinnedNode } from '@kmesh/lab/testing/daemon/pinned-node.ts';
import { echo, exchange, open } from '@kmesh/lab/testing/traffic/echo.ts';
import { untilEnrolled } from '@kmesh/lab/testing/traffic/paths.ts';
import { ending } from '@kmesh/lab/testing/tunnel/traffic.ts';

test('with KMESH_SAME_NODE=mtls a connection between two pods of a node is mutual TLS, and no packet takes the kernel path', async () => {
  await using lab = await createLab();
  await lab.node();
  await using mesh = await startMesh(lab, { kernelPath: true, environment: { KMESH_SAME_NODE: 'mtls' } });
  const { pod: client } = await mesh.pod({ name: 'client' });
  const { pod: server } = await mesh.pod({ name: 'server', captured: { variant: 'nftables' } });
  await server.serve({ port: 8080, mode: 'double' });
  await untilEnrolled(mesh, [client, server], { attested: false });
  const watch = await mesh.node().proxy.watch();
  await echo(client, server.addresses.v4);
  for (const direction of ['outbound', 'inbound'] as const) {
    const { fields } = await watch.line(direction);
    assert.deepEqual([fields['path'], fields['dst.hbone_addr']], ['tunnel', `${server.addresses.v4}:8080`]);
  }
  const secured = { connection_security_policy: 'mutual_tls' };
  assert.equal(await watch.growth('istio_tcp_connections_opened_total', secured), 2);
});

for (const signal of ['SIGTERM', 'SIGKILL'] as const) {
  test(`a daemon that starts with KMESH_SAME_NODE=mtls after ${signal} of one without it ends open kernel-path connections, and serves new ones by mutual TLS`, async () => {
    await using node = await pinnedNode();
    const { mesh, client, servers } = node;
    const [server, other] = servers;
    const { proxy } = mesh.node();
    const live = await open(client, server.addresses.v4, 8081);
    await exchange(live);
    await proxy.stop(signal);
    await exchange(live);
    proxy.start({ KMESH_SAME_NODE: 'mtls' });
    await proxy.ready();
    live.write('plain text');
    assert.equal(await ending(live, 5_000), 'reset');
    const watch = await proxy.watch();
    const next = await open(client, other.addresses.v4, 8081);
    await exchange(next);
    // The daemon that was killed may have left events of connections to the same pod.
    const from = `${client.addresses.v4}:${next.localPort}`;
    next.end();
    const { fields } = await watch.line('outbound', { 'src.addr': from });
    assert.deepEqual([fields['path'], fields['dst.hbone_addr']], ['tunnel', `${other.addresses.v4}:8081`]);
  });
}
