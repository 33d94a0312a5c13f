import assert from 'node:assert/strict';
import { execFileSync, spawnSync } from 'node:child_process';
import { existsSync, readdirSync } from 'node:fs';
import { test } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { eventually } from '@kmesh/api/testing';
import { createLab, installRedirect, type Lab, type LabMesh, type Pod, startMesh } from '@kmesh/lab';
import { attempt, echo, exchange, open } from '@kmesh/lab/testing/traffic/echo.ts';
import { attachedProgramIds } from '@kmesh/linux';

const CGROUP_CONNECT4 = 10;
const main = fileURLToPath(new URL('../../packages/kmesh/src/main.ts', import.meta.url));

interface Scene extends AsyncDisposable {
  readonly lab: Lab;
  readonly mesh: LabMesh;
  readonly pins: string;
  readonly client: Pod;
  readonly server: Pod;
}

/** A node whose kernel path is pinned, with a client and a server on it. */
async function pinnedNode(): Promise<Scene> {
  const lab = await createLab();
  await lab.node();
  const pins = `${await lab.bpffs()}/kmesh`;
  const mesh = await startMesh(lab, { kernelPath: true, environment: { KMESH_PINS: pins } });
  const { pod: client } = await mesh.pod({ name: 'client' });
  const { pod: server } = await mesh.pod({ name: 'server' });
  await server.serve({ port: 8080, mode: 'double' });
  await server.serve({ port: 8081, mode: 'http' });
  await onKernelPath(mesh, client, server);
  return {
    lab,
    mesh,
    pins,
    client,
    server,
    async [Symbol.asyncDispose]() {
      await mesh.close();
      await lab.close();
    },
  };
}

/** A connection of the kernel path leaves no socket of the proxy in the client's pod. */
async function onKernelPath(mesh: LabMesh, client: Pod, server: Pod): Promise<void> {
  for (let tries = 0; tries < 50; tries++) {
    const watch = await mesh.node().proxy.watch();
    await echo(client, server.addresses.v4);
    for (let wait = 0; wait < 20 && watch.lines.length === 0; wait++) await delay(50);
    if (watch.lines.some(({ fields }) => fields['path'] === 'kernel')) return;
  }
  throw new Error('no connection took the kernel path');
}

test('NEG-28, BPF-10: after kill -9 of the daemon under load open and new kernel-path connections work, and the next start adopts the pins', async () => {
  await using scene = await pinnedNode();
  const { lab, mesh, client, server } = scene;
  const { proxy } = mesh.node();
  const before = attachedProgramIds(lab.cgroup, CGROUP_CONNECT4);
  const long = await open(client, server.addresses.v4, 8080);
  await exchange(long);
  const dialing = client.startDialing({
    to: `${server.addresses.v4}:8081`,
    connections: 0,
    concurrency: 4,
    mode: 'http',
  });
  for (let round = 0; round < 3; round++) {
    proxy.kill('SIGKILL');
    await proxy.ended;
    await exchange(long);
    assert.equal(attachedProgramIds(lab.cgroup, CGROUP_CONNECT4).length, 1);
    proxy.start();
    await proxy.ready();
    await exchange(long);
  }
  const report = await dialing.stop();
  assert.deepEqual(report.failures, []);
  assert.ok(report.connections > 100, `${report.connections}`);
  long.destroy();
  const after = attachedProgramIds(lab.cgroup, CGROUP_CONNECT4);
  assert.equal(after.length, 1);
  assert.notDeepEqual(after, before);
  await onKernelPath(mesh, client, server);
});

test('NEG-26, NEG-27: pins of another layout and invalid pins are replaced, and nothing is attached twice', async () => {
  await using scene = await pinnedNode();
  const { lab, mesh, pins, client, server } = scene;
  const { proxy } = mesh.node();
  const long = await open(client, server.addresses.v4, 8080);
  await exchange(long);
  const dialing = client.startDialing({
    to: `${server.addresses.v4}:8081`,
    connections: 0,
    concurrency: 4,
    mode: 'http',
  });
  proxy.kill('SIGKILL');
  await proxy.ended;
  // State before an upgrade: flow maps of another version, none of its own, and links in use.
  const layout = readdirSync(pins).find((name) => name.startsWith('flows-'));
  execFileSync('mv', [`${pins}/${layout}`, `${pins}/flows-v999-00000000`]);
  proxy.start();
  await proxy.ready();
  await exchange(long);
  const report = await dialing.stop();
  assert.deepEqual(report.failures, []);
  long.destroy();
  assert.equal(attachedProgramIds(lab.cgroup, CGROUP_CONNECT4).length, 1);
  assert.ok(!existsSync(`${pins}/flows-v999-00000000`));
  assert.ok(existsSync(`${pins}/${layout}/map-flows`));
  await onKernelPath(mesh, client, server);
});

test('NEG-29: connections of a pod that is created while no daemon runs are blocked by capture, never plain', async () => {
  await using scene = await pinnedNode();
  const { mesh, client } = scene;
  const { proxy } = mesh.node();
  proxy.kill('SIGKILL');
  await proxy.ended;
  const late = await mesh.node().node.pod({ name: 'late' });
  await late.serve({ port: 8080, mode: 'double' });
  await installRedirect(late, { dns: false });
  const { how, bytes } = await attempt(client, late.addresses.v4, 8080, 'hello', 1_500);
  assert.deepEqual([how === 'open', bytes], [false, '']);
  const outward = await attempt(late, client.addresses.v4, 8080, 'hello', 1_500);
  assert.equal(outward.how, 'refused');
  proxy.start();
  await proxy.ready();
});

test('kmesh uninstall without access to the pods removes nothing and says so; removed pods do not count', async () => {
  await using scene = await pinnedNode();
  const { lab, mesh, pins, client, server } = scene;
  mesh.node().proxy.kill('SIGKILL');
  await mesh.node().proxy.ended;
  const names = readdirSync(`${pins}/pods`).sort();
  // As in a container: a separate process namespace, and no named network namespaces.
  const hidden = spawnSync(
    'unshare',
    [
      ...['--mount', '--pid', '--fork', '--mount-proc', 'sh', '-c'],
      'mount -t tmpfs none /run/netns && exec "$0" "$@"',
      ...[process.execPath, main, 'uninstall'],
    ],
    { env: { ...process.env, KMESH_PINS: pins }, encoding: 'utf8' },
  );
  assert.notEqual(hidden.status, 0);
  assert.match(hidden.stderr, /nothing was removed: .* names 2 network namespaces of pods .* hostPID: true/);
  assert.deepEqual(readdirSync(`${pins}/pods`).sort(), names);
  assert.equal(attachedProgramIds(lab.cgroup, CGROUP_CONNECT4).length, 1);

  mesh.node().node.removePod(client);
  // The kernel removes a namespace some time after its last user; until then it counts as one without access.
  await eventually('the removed pod does not count', () => {
    const env = { ...process.env, KMESH_PINS: pins };
    return spawnSync(process.execPath, [main, 'uninstall'], { env }).status === 0;
  });
  assert.ok(!existsSync(pins));
  assert.equal((await server.run('nft', ['list', 'table', 'inet', 'kmesh'], { check: false })).stdout, '');
});

test('BPF-06: kmesh uninstall leaves no programs, pins or tables, and an open connection continues', async () => {
  await using scene = await pinnedNode();
  const { lab, mesh, pins, client, server } = scene;
  await onKernelPath(mesh, client, server);
  const long = await open(client, server.addresses.v4, 8080);
  await exchange(long);
  mesh.node().proxy.kill('SIGKILL');
  await mesh.node().proxy.ended;
  execFileSync(process.execPath, [main, 'uninstall'], { env: { ...process.env, KMESH_PINS: pins } });
  assert.deepEqual(attachedProgramIds(lab.cgroup, CGROUP_CONNECT4), []);
  assert.ok(!existsSync(pins));
  for (const pod of [client, server]) {
    assert.equal((await pod.run('nft', ['list', 'table', 'inet', 'kmesh'], { check: false })).stdout, '');
  }
  await exchange(long);
  long.destroy();
});

test('NEG-40: the daemon is ready only when its programs are attached', async () => {
  await using lab = await createLab();
  await lab.node();
  assert.deepEqual(attachedProgramIds(lab.cgroup, CGROUP_CONNECT4), []);
  await using mesh = await startMesh(lab, { kernelPath: true });
  assert.equal(attachedProgramIds(lab.cgroup, CGROUP_CONNECT4).length, 1);
  await mesh.node().proxy.stop();
  assert.deepEqual(attachedProgramIds(lab.cgroup, CGROUP_CONNECT4), []);
});
