import { readdirSync } from 'node:fs';
import { eventually } from '@kmesh/api/testing';
import { type LabMesh, startMesh } from '../../mesh/lab-mesh.ts';
import { keyOf, serviceOf } from '../../mesh/records.ts';
import { createLab, type Lab } from '../../network/lab.ts';
import type { Pod } from '../../pods/pod.ts';
import { strict } from '../traffic/policies.ts';

/** Address and port of the service of {@link pinnedNode}. */
export const SHOP = '10.96.0.1:80';

/** A node whose kernel path is pinned, with a client and a service of two servers on it, under mutual TLS. */
export interface PinnedNode extends AsyncDisposable {
  readonly lab: Lab;
  readonly mesh: LabMesh;
  readonly pins: string;
  readonly client: Pod;
  readonly servers: readonly [Pod, Pod];
}

/**
 * Starts it and waits until connections take the kernel path. Plaintext without an identity is denied: a connection
 * that the kernel path begins and capture then takes over fails, so the test detects it.
 */
export async function pinnedNode(
  environment: Readonly<Record<string, string>> = {},
  executable?: string,
): Promise<PinnedNode> {
  const lab = await createLab();
  await lab.node();
  const pins = `${await lab.bpffs()}/kmesh`;
  const mesh = await startMesh(lab, {
    kernelPath: true,
    environment: { KMESH_PINS: pins, ...environment },
    ...(executable === undefined ? {} : { executable }),
  });
  const service = serviceOf({ name: 'shop', vips: lab.serviceAddress(), ports: { 80: 8080 } });
  await mesh.apply(strict, service);
  const { pod: client } = await mesh.pod({ name: 'client' });
  const servers: Pod[] = [];
  for (const name of ['one', 'two']) {
    const { pod } = await mesh.pod({ name, workload: { services: { [keyOf(service)]: {} } } });
    await pod.serve({ port: 8080, mode: 'http' });
    await pod.serve({ port: 8081, mode: 'double' });
    servers.push(pod);
  }
  await takesKernelPath(mesh, client);
  return {
    ...{ lab, mesh, pins, client },
    servers: servers as [Pod, Pod],
    async [Symbol.asyncDispose]() {
      await mesh.close();
      await lab.close();
    },
  };
}

/** Returns the pin directory of the flow or handshake maps of the layout in use. */
export function layoutOf(pins: string, kind: 'flows' | 'handshakes'): string {
  return `${pins}/${readdirSync(pins).find((name) => name.startsWith(`${kind}-`))}`;
}

/** Resolves when every connection of a series took the kernel path. */
export async function takesKernelPath(mesh: LabMesh, client: Pod, to = SHOP): Promise<void> {
  const connections = 20;
  for (let tries = 0; tries < 60; tries++) {
    const watch = await mesh.node().proxy.watch();
    const report = await client.dial({ to, mode: 'http', connections });
    const kernel = () => watch.lines.filter(({ fields }) => fields['path'] === 'kernel').length;
    const outbound = () => watch.lines.filter(({ fields }) => fields['direction'] === 'outbound').length;
    // A connection that no path handled has no log line.
    const logged = () => kernel() >= connections || outbound() >= connections;
    await eventually('every connection has its line', logged, 1_000).catch(() => undefined);
    if (report.failed === 0 && kernel() >= connections) return;
  }
  throw new Error(`connections do not take the kernel path:\n${mesh.node().proxy.log.slice(-2000)}`);
}
