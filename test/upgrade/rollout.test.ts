import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { kmeshExecutable } from '@kmesh/lab';
import { startDaemonMesh } from '@kmesh/lab/testing/daemon/daemon-mesh.ts';
import type { DaemonProcess } from '@kmesh/lab/testing/daemon/daemon-process.ts';
import { buildOther, otherFlows } from '@kmesh/lab/testing/daemon/other-build.ts';
import { attachedProgramIds } from '@kmesh/linux';
import { shop, takesKernelPath, VIP } from './shop.ts';

const CGROUP_CONNECT4 = 10;
const main = fileURLToPath(new URL('../../packages/kmesh/src/main.ts', import.meta.url));

test('rollouts from a ztunnel to Kmesh, to a newer Kmesh and back: no connection fails, and nothing is left behind', async () => {
  const newer = buildOther(otherFlows);
  await using mesh = await startDaemonMesh();
  const { place, client, servers } = await shop(mesh);
  const far = await mesh.node();
  const remote = await mesh.pod(far.node);
  await far.agent.addPod(remote);
  const pins = `${await mesh.lab.bpffs()}/kmesh`;
  const drain = { CONNECTION_TERMINATION_DEADLINE: '3s' };
  // A substitute for ztunnel, which is not available here: it listens on the same ports and has no kernel path.
  const ztunnel = { ...drain, KMESH_KERNEL_PATH: 'false' };
  const kmesh = { ...drain, KMESH_KERNEL_PATH: 'true', KMESH_CGROUP: mesh.lab.cgroup, KMESH_PINS: pins };
  const other = await mesh.daemon(far, { environment: ztunnel });
  let current: DaemonProcess = await mesh.daemon(place, { environment: ztunnel });
  await Promise.all([other.ready(), current.ready()]);

  const loads = [client, remote].map((from) =>
    from.startDialing({ to: `${VIP}:80`, connections: 0, concurrency: 2, mode: 'http' }),
  );
  const dialKernel = () => client.dial({ to: `${VIP}:80`, mode: 'http', connections: 10 });
  /** As with maxSurge 1: the next one is ready before this one gets SIGTERM. */
  const roll = async (environment: Record<string, string>, executable = kmeshExecutable): Promise<void> => {
    const next = await mesh.daemon(place, { environment, executable });
    await next.ready();
    current.kill('SIGTERM');
    assert.deepEqual(await current.ended, { code: 0, signal: null });
    current = next;
  };
  await roll(kmesh);
  await takesKernelPath(current, dialKernel);
  await roll(kmesh, newer.main);
  await takesKernelPath(current, dialKernel);
  await roll(ztunnel);
  for (const load of loads) {
    const report = await load.stop();
    assert.deepEqual(report.failures, []);
    assert.ok(report.connections > 200, `${report.connections}`);
  }

  // The command that docs/operate.md prescribes for every node afterwards.
  execFileSync(process.execPath, [main, 'uninstall'], { env: { ...process.env, KMESH_PINS: pins } });
  assert.deepEqual(attachedProgramIds(mesh.lab.cgroup, CGROUP_CONNECT4), []);
  assert.equal(existsSync(pins), false);
  for (const pod of [client, ...servers])
    assert.equal((await pod.run('nft', ['list', 'table', 'inet', 'kmesh'], { check: false })).stdout, '');
  const before = current.log().length;
  assert.deepEqual((await dialKernel()).failures, []);
  await current.until('the last one carries connections', () =>
    current.log().slice(before).includes('direction="outbound"'),
  );
});
