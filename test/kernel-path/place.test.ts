import assert from 'node:assert/strict';
import { chmodSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { commandOf, createLab, exportMachinePath, generatedWorkload, startMesh } from '@kmesh/lab';
import { takesKernelPath } from '@kmesh/lab/testing/daemon/pinned-node.ts';
import { untilEnrolled } from '@kmesh/lab/testing/traffic/paths.ts';

test('in its own cgroup namespace the daemon logs so once, and all connections take the tunnel path', async () => {
  await using lab = await createLab();
  await lab.node();
  await using mesh = await startMesh(lab, { kernelPath: true });
  const { pod: client } = await mesh.pod({ name: 'client' });
  const { pod: plain } = await mesh.pod({ name: 'plain', captured: false });
  const { pod: server } = await mesh.pod({ name: 'server' });
  await server.serve({ port: 8080, mode: 'http' });
  const to = `${server.addresses.v4}:8080`;
  await takesKernelPath(mesh, client, to);

  const { proxy } = mesh.node();
  await proxy.stop();
  const directory = mkdtempSync(join(tmpdir(), 'kmesh-place-'));
  try {
    const own = join(directory, 'cgroup');
    mkdirSync(own);
    const launcher = join(directory, 'launcher');
    const command = commandOf(proxy.executable).flat().join(' ');
    const script = `mount -t cgroup2 none ${own} && exec ${command} "$@"`;
    writeFileSync(
      launcher,
      `#!/bin/sh\n${exportMachinePath()}\nexec unshare -C -m sh -c '${script}' sh "$@"\n`,
    );
    chmodSync(launcher, 0o755);
    proxy.executable = launcher;
    const before = proxy.log.length;
    proxy.start({ KMESH_CGROUP: own });
    await proxy.ready();
    const said = proxy.log
      .slice(before)
      .split('\n')
      .filter((line) => line.includes('no kernel path'));
    assert.equal(said.length, 1, proxy.log.slice(before));
    assert.match(said[0] ?? '', /own part of the cgroups, not the host's/);
    const watch = await proxy.watch();
    for (const from of [client, plain]) {
      const report = await from.dial({ to, mode: 'http', connections: 5 });
      assert.equal(report.failed, 0, JSON.stringify(report));
    }
    const lines = await watch.access('inbound', 10);
    assert.deepEqual([...new Set(lines.map(({ fields }) => fields['path']))], ['tunnel']);
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
});

test('a pod that the kernel tables cannot serve is logged once, not with every change of the mesh', async () => {
  await using lab = await createLab();
  await lab.node();
  await using mesh = await startMesh(lab, { kernelPath: true });
  const { pod: near } = await mesh.pod({ name: 'near' });
  await untilEnrolled(mesh, [near]);
  const { proxy } = mesh.node();
  const said = () => proxy.log.match(/\tpods\ta pod stays on the tunnel path.*/g) ?? [];
  await mesh.pod({ name: 'far', workload: { locality: { region: 'elsewhere', zone: '', subzone: '' } } });
  await proxy.until('the pod is logged', async () => said().length > 0);
  for (let index = 0; index < 5; index++) await mesh.apply(generatedWorkload(index, 1, 1));
  // A later pod: by its line, everything about the changes has been logged.
  await mesh.pod({ name: 'later', workload: { locality: { region: 'elsewhere', zone: '', subzone: '' } } });
  await proxy.until('the later pod is logged', async () => said().some((line) => line.includes('later')));
  assert.equal(said().filter((line) => line.includes('far')).length, 1);
});
