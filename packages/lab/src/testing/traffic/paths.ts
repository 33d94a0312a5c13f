import assert from 'node:assert/strict';
import { setTimeout as delay } from 'node:timers/promises';
import type { LabMesh } from '../../mesh/lab-mesh.ts';
import { parseAccessLog, type Sample, sumOf } from '../../mesh/proxy-output.ts';
import type { Lab } from '../../network/lab.ts';
import type { Pod } from '../../pods/pod.ts';

/** The kernel path takes a pod a moment after its agent was answered; there is nothing to wait for where it is off. */
export async function untilEnrolled(mesh: LabMesh, ...pods: readonly Pod[]): Promise<void> {
  if (!mesh.kernelPath) return;
  for (const pod of pods) {
    for (let tries = 0; ; tries++) {
      const { code } = await pod.run('nft', ['list', 'table', 'inet', 'kmesh'], { check: false });
      if (code === 0) break;
      assert.ok(tries < 250, `${pod.name} has no rules of the kernel path`);
      await delay(20);
    }
  }
  await delay(100);
}

/** The kernel's tables follow some milliseconds after the control plane was answered; there are none where it is off. */
export async function untilTablesFollow(mesh: LabMesh): Promise<void> {
  if (mesh.kernelPath) await delay(150);
}

/**
 * Ends a mesh and its lab, once every line that its proxies logged agrees with design §1: no kernel path where it is off, and
 * where it is on nothing of it that was tunnelled. Their metrics know a kernel path only where the log does.
 */
export async function closeWithPaths(mesh: LabMesh | undefined, lab: Lab | undefined): Promise<void> {
  const lines = mesh?.nodes.flatMap(({ proxy }) => parseAccessLog(proxy.log)) ?? [];
  // A proxy that a test has ended counts nothing.
  const counted = await Promise.all(
    mesh?.nodes.map(({ proxy }) => proxy.metrics().catch(() => [] as Sample[])) ?? [],
  );
  const byKernel = counted
    .map((samples) => sumOf(samples, 'kmesh_connections_path_total', { path: 'kernel' }))
    .reduce((sum, connections) => sum + connections, 0);
  try {
    await mesh?.close();
  } finally {
    await lab?.close();
  }
  if (mesh?.kernelPath === false) assert.equal(byKernel, 0, 'the kernel path is off, and its metric counts');
  for (const { fields } of lines) {
    // What ends before it is a connection has no path.
    if (fields['path'] !== 'kernel') continue;
    const text = JSON.stringify(fields);
    assert.ok(mesh?.kernelPath, `the kernel path is off: ${text}`);
    assert.equal(fields['dst.hbone_addr'], undefined, `HBONE on the kernel path: ${text}`);
    // The kernel attests both ends or none.
    const attested = fields['src.identity'] !== undefined;
    assert.equal(fields['dst.identity'] !== undefined, attested, `one identity only: ${text}`);
    assert.doesNotMatch(fields['dst.addr'] ?? '', /:15008$/, `HBONE on the kernel path: ${text}`);
  }
}
