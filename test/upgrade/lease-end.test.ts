import assert from 'node:assert/strict';
import { once } from 'node:events';
import { test } from 'node:test';
import type { Host, Pod } from '@kmesh/lab';
import { pinnedNode } from '@kmesh/lab/testing/daemon/pinned-node.ts';
import { buildNative } from '@kmesh/lab/testing/kernel/dialer.ts';
import { attempt } from '@kmesh/lab/testing/traffic/echo.ts';

/** Address of the node's service. */
const SERVICE = '10.96.0.1';

test('after the lease other listeners on 15001 and 15006 serve the pods as if Kmesh had never been installed', async () => {
  await using node = await pinnedNode({ KMESH_LEASE: '3s' });
  const { mesh, lab, client, servers } = node;
  const [server] = servers;
  // Address of the node's service, and one without a service.
  const vips = lab.serviceAddress();
  const outside = await lab.outsideHost();
  await outside.serve({ port: 7070 });
  const { proxy } = mesh.node();
  proxy.kill('SIGKILL');
  await proxy.ended;
  for (const pod of [client, server]) await startStock(pod);

  // Until the lease ends the kernel path serves the connection: the answer is that of the server.
  for (let tries = 0; (await answer(client, SERVICE, 80)) !== `15001 ${SERVICE} 80`; tries++)
    assert.ok(tries < 30, 'the lease does not end');
  for (const family of ['v4', 'v6'] as const) {
    // A service, a pod of the node and a host outside the mesh; and a client that reaches the pod through netfilter
    // only.
    const vip = vips[family];
    assert.equal(await answer(client, vip, 80), `15001 ${vip} 80`);
    const ip = server.addresses[family];
    assert.equal(await answer(client, ip, 8080), `15001 ${ip} 8080`);
    assert.equal(await answer(outside, ip, 8080), `15006 ${ip} 8080`);
    const stranger = outside.addresses[family];
    assert.equal(await answer(client, stranger, 7070), `15001 ${stranger} 7070`);
  }
});

async function startStock(pod: Pod): Promise<void> {
  const child = pod.spawn(buildNative('stock', new URL('native/', import.meta.url)));
  assert.ok(child.stdout);
  await once(child.stdout, 'data');
}

/** Returns the answer; empty if the connection is refused or there is no answer. */
async function answer(from: Host, host: string, port: number): Promise<string> {
  return (await attempt(from, host, port, '', 1_000)).bytes;
}
