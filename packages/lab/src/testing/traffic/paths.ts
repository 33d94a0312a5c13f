import assert from 'node:assert/strict';
import type { TablesView } from '@kmesh/api';
import type { LabMesh } from '../../mesh/lab-mesh.ts';
import { type AccessLine, parseAccessLog, type Sample, sumOf } from '../../mesh/proxy-output.ts';
import type { Lab } from '../../network/lab.ts';
import type { Pod } from '../../pods/pod.ts';

/**
 * Waits until the kernel tables have these pods, their capture rules and their certificates, where the kernel path is
 * on: it takes a pod a moment after its agent was answered. Pods whose identity the kernel never attests: `attested:
 * false`; pods that have no capture rules: `captured: false`.
 *
 * @throws KMESH_LAB_TIMEOUT
 */
export async function untilEnrolled(
  mesh: LabMesh,
  pods: readonly Pod[],
  { attested = true, captured = true }: { readonly attested?: boolean; readonly captured?: boolean } = {},
): Promise<void> {
  if (!mesh.kernelPath) return;
  const isIn = (pod: Pod, view: TablesView): boolean =>
    view.pods.some(
      ({ namespace, name, state, bare }) =>
        namespace === pod.podNamespace &&
        name === pod.name &&
        (!bare || !captured) &&
        (state === 'kernel' || (state === 'unattested' && !attested)),
    );
  for (const pod of pods) {
    const proxy = mesh.proxyOf(pod);
    await proxy.until(`${pod.name} is enrolled`, async () => isIn(pod, await proxy.tables()));
  }
  await untilTablesFollow(mesh);
}

/**
 * Waits until the kernel tables of every node have all that its proxy has taken of the mesh, where the kernel path is
 * on.
 */
export async function untilTablesFollow(mesh: LabMesh): Promise<void> {
  if (!mesh.kernelPath) return;
  for (const { proxy } of mesh.nodes) {
    await proxy.until('the kernel tables follow the mesh', async () => !(await proxy.tables()).behind);
  }
}

/**
 * Ends a mesh and its lab, once every line that its proxies logged agrees with the path that is meant for it: no kernel
 * path where it is off, and where it is on nothing of it that was tunnelled. Their metrics know a kernel path only
 * where the log does.
 */
export async function closeWithPaths(mesh: LabMesh | undefined, lab: Lab | undefined): Promise<void> {
  const lines = mesh?.nodes.flatMap(({ proxy }) => parseAccessLog(proxy.log)) ?? [];
  // A proxy that a test has stopped has no metrics.
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

/** Fails unless a line has all of `expected`; `undefined` there means that a field is absent. */
export function assertFields(
  line: AccessLine | undefined,
  expected: Readonly<Record<string, string | RegExp | undefined>>,
): void {
  assert.ok(line, 'a line of the access log');
  const { fields } = line;
  for (const [name, value] of Object.entries(expected)) {
    if (value instanceof RegExp) assert.match(fields[name] ?? '', value, name);
    else assert.equal(fields[name], value, `${name} in ${JSON.stringify(fields)}`);
  }
}
