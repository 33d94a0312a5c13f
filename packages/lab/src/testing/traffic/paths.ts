import assert from 'node:assert/strict';
import type { TablesView } from '@kmesh/api';
import type { LabMesh } from '../../mesh/lab-mesh.ts';
import { type AccessLine, parseAccessLog, type Sample, sumOf } from '../../mesh/proxy-output.ts';
import type { Lab } from '../../network/lab.ts';
import type { Pod } from '../../pods/pod.ts';

/**
 * With the kernel path on, waits until the kernel tables have these pods, their capture rules and their certificates: a
 * pod is added to them shortly after its agent was answered. Pods whose identity the kernel never attests: `attested:
 * false`; pods without capture rules: `captured: false`.
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

/** With the kernel path on, waits until the kernel tables of every node have the mesh state of its proxy. */
export async function untilTablesFollow(mesh: LabMesh): Promise<void> {
  if (!mesh.kernelPath) return;
  for (const { proxy } of mesh.nodes) {
    await proxy.until('the kernel tables follow the mesh', async () => !(await proxy.tables()).behind);
  }
}

/**
 * Ends a mesh and its lab, after checking the path of every log line of its proxies: none has the kernel path if it is
 * off, and no kernel-path line has fields of the tunnel. Metrics have a kernel path only if the log has.
 */
export async function closeWithPaths(mesh: LabMesh | undefined, lab: Lab | undefined): Promise<void> {
  const lines = mesh?.nodes.flatMap(({ proxy }) => parseAccessLog(proxy.log)) ?? [];
  // A stopped proxy has no metrics.
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
    // An attempt that fails before the connect has no path.
    if (fields['path'] !== 'kernel') continue;
    const text = JSON.stringify(fields);
    assert.ok(mesh?.kernelPath, `the kernel path is off: ${text}`);
    assert.equal(fields['dst.hbone_addr'], undefined, `HBONE on the kernel path: ${text}`);
    // The kernel attests both ends or neither.
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
