import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { test } from 'node:test';
import { createLab, kmeshSources, type Node, type Pod, startMesh, workloadOf } from '@kmesh/lab';
import { pinnedNode, SHOP, takesKernelPath } from '@kmesh/lab/testing/daemon/pinned-node.ts';
import { loadEmptyProgram } from '@kmesh/lab/testing/kernel/empty-program.ts';
import { attempt, exchange, open } from '@kmesh/lab/testing/traffic/echo.ts';
import { openNetworkNamespace } from '@kmesh/linux';

/** As on Linux before 6.6. */
const withoutTcx = {
  NODE_OPTIONS: `--import=${import.meta.resolve('@kmesh/lab/testing/kernel/without-tcx.ts')}`,
};

/** Names of the programs of the filters at a pod's interface. */
async function filters(pod: Pod): Promise<string[]> {
  const { stdout } = await pod.run('tc', ['filter', 'show', 'dev', 'eth0', 'ingress']);
  return filtersIn(stdout);
}

/** The same of all interfaces of a node: the node's side of its pods' interfaces. */
async function nodeFilters(node: Node): Promise<string[]> {
  const names = "ip -o link | sed 's/^[0-9]*: //; s/[:@].*//'";
  const { stdout } = await node.run('sh', [
    '-c',
    `for link in $(${names}); do tc filter show dev $link ingress; done`,
  ]);
  return filtersIn(stdout);
}

function filtersIn(listing: string): string[] {
  return [...listing.matchAll(/handle 0x([0-9a-f]+) (\w+)/g)].map(([, handle, name]) => `${name} ${handle}`);
}

async function table(pod: Pod): Promise<string> {
  return (await pod.run('nft', ['list', 'tables', 'inet'], { check: false })).stdout;
}

test("without tcx a pod's filter survives kill -9 and a drain, connections continue, the next daemon replaces it, and uninstall removes only it", async () => {
  using foreign = await loadEmptyProgram();
  await using node = await pinnedNode(withoutTcx, kmeshSources);
  const { mesh, pins, client, servers } = node;
  const { proxy } = mesh.node();
  using namespace = openNetworkNamespace(servers[0].namespacePath);
  const other = foreign
    .program('empty_tc')
    .attachTc({ device: 'eth0', direction: 'ingress', namespace, mechanism: 'clsact' });
  const ours = 'kmesh_ingress 4b4d';
  assert.deepEqual((await filters(servers[0])).sort(), ['empty_tc 1', ours]);
  const long = await open(client, servers[0].addresses.v4, 8081);
  const dialing = client.startDialing({ to: SHOP, connections: 0, concurrency: 2, mode: 'http' });
  for (const signal of ['SIGKILL', 'SIGTERM', 'SIGKILL'] as const) {
    await proxy.stop(signal);
    await exchange(long);
    assert.deepEqual((await filters(servers[0])).sort(), ['empty_tc 1', ours]);
    const report = await client.dial({ to: SHOP, mode: 'http', connections: 20 });
    assert.deepEqual(report.failures, [], `after ${signal}`);
    proxy.start();
    await proxy.ready();
    await takesKernelPath(mesh, client);
    assert.deepEqual((await filters(servers[0])).sort(), ['empty_tc 1', ours]);
    assert.deepEqual(await filters(servers[1]), [ours]);
  }
  assert.deepEqual((await dialing.stop()).failures, []);
  long.destroy();
  await proxy.stop('SIGKILL');
  const wire = 'kmesh_wire 4b4d';
  assert.deepEqual(await nodeFilters(mesh.node().node), [wire, wire, wire]);
  execFileSync(process.execPath, [kmeshSources, 'uninstall'], { env: { ...process.env, KMESH_PINS: pins } });
  assert.deepEqual(await nodeFilters(mesh.node().node), []);
  assert.deepEqual(await filters(servers[0]), ['empty_tc 1']);
  assert.deepEqual(await filters(servers[1]), []);
  for (const pod of [client, ...servers]) assert.doesNotMatch(await table(pod), /kmesh/);
  other.close();
});

test('without tcx and pins nothing is left after a drain; the next daemon and uninstall find the remains of kill -9', async () => {
  await using lab = await createLab();
  await lab.node();
  await using mesh = await startMesh(lab, {
    kernelPath: true,
    environment: withoutTcx,
    executable: kmeshSources,
  });
  const { proxy } = mesh.node();
  const { pod: client } = await mesh.pod({ name: 'client' });
  const { pod: server } = await mesh.pod({ name: 'server' });
  await server.serve({ port: 8080, mode: 'http' });
  const to = `${server.addresses.v4}:8080`;
  await takesKernelPath(mesh, client, to);
  await proxy.stop('SIGKILL');
  assert.deepEqual(await filters(server), ['kmesh_ingress 4b4d']);
  // No proxy serves the tunnel path and no program is attached to the cgroup: capture blocks it, and it is not plain.
  const { how } = await attempt(client, server.addresses.v4, 8080, 'hello', 1_000);
  assert.notEqual(how, 'open');
  proxy.start();
  await proxy.ready();
  await takesKernelPath(mesh, client, to);
  assert.deepEqual(await filters(server), ['kmesh_ingress 4b4d']);
  await proxy.stop('SIGTERM');
  assert.deepEqual([...(await filters(server)), ...(await nodeFilters(mesh.node().node))], []);
  assert.doesNotMatch(await table(server), /kmesh/);

  proxy.start();
  await proxy.ready();
  await takesKernelPath(mesh, client, to);
  await proxy.stop('SIGKILL');
  const env = { ...process.env, KMESH_PINS: `${await lab.bpffs()}/none` };
  execFileSync(process.execPath, [kmeshSources, 'uninstall'], { env });
  assert.deepEqual([...(await filters(server)), ...(await filters(client))], []);
  assert.deepEqual(await nodeFilters(mesh.node().node), []);
  assert.doesNotMatch(await table(server), /kmesh/);
});

test('without tcx a pod that leaves the mesh while no daemon runs has no filter on either side once the next one runs', async () => {
  await using node = await pinnedNode(withoutTcx, kmeshSources);
  const { mesh, client, servers } = node;
  const { proxy, agent } = mesh.node();
  await proxy.stop('SIGKILL');
  assert.deepEqual(await filters(servers[1]), ['kmesh_ingress 4b4d']);
  await agent.removePod(servers[1]);
  proxy.start();
  await proxy.ready();
  await takesKernelPath(mesh, client, `${servers[0].addresses.v4}:8080`);
  assert.deepEqual(await filters(servers[1]), []);
  assert.deepEqual(await filters(servers[0]), ['kmesh_ingress 4b4d']);
  assert.deepEqual(await nodeFilters(mesh.node().node), ['kmesh_wire 4b4d', 'kmesh_wire 4b4d']);
});

test("without tcx another program's filter is not replaced, and the pod stays on the tunnel path", async () => {
  using foreign = await loadEmptyProgram();
  await using node = await pinnedNode(withoutTcx, kmeshSources);
  const { mesh, client } = node;
  const late = await mesh.node().node.pod({ name: 'late', serviceAccount: 'sa-late' });
  using namespace = openNetworkNamespace(late.namespacePath);
  foreign.program('empty_tc').attachTc({
    ...{ device: 'eth0', direction: 'ingress', namespace, mechanism: 'clsact' },
    keep: { priority: 75, handle: 0x4b4d },
  });
  await mesh.apply(workloadOf(late, { protocol: 'HBONE' }));
  assert.equal(await mesh.node().agent.addPod(late, { dns: false }), '');
  await late.serve({ port: 8080, mode: 'http' });
  const watch = await mesh.node().proxy.watch();
  const report = await client.dial({ to: `${late.addresses.v4}:8080`, mode: 'http', connections: 5 });
  assert.equal(report.failed, 0);
  await mesh.node().proxy.until('its connections are logged', () => watch.lines.length >= 5);
  assert.ok(watch.lines.every(({ fields }) => fields['path'] === 'tunnel'));
  assert.deepEqual(await filters(late), ['empty_tc 4b4d']);
  const { proxy } = mesh.node();
  await proxy.until('it logs the reason', () => /stays on the tunnel path.*EEXIST/.test(proxy.log));
});
