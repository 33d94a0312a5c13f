import { readFileSync } from 'node:fs';
import { type LabMesh, startMesh } from '../../mesh/lab-mesh.ts';
import { createLab } from '../../network/lab.ts';
import type { Pod } from '../../pods/pod.ts';
import { untilEnrolled } from '../traffic/paths.ts';

/** Data paths through the mesh, each with its settings. */
export const oraclePaths = {
  'the kernel path': { kernelPath: true, node: 0, path: 'kernel' },
  'the tunnel path': { kernelPath: false, node: 0, path: 'tunnel' },
  'the tunnel path to another node': { kernelPath: true, node: 1, path: 'tunnel' },
} as const;

/** Name of one of {@link oraclePaths}. */
export type OraclePath = keyof typeof oraclePaths;

/** Captured pods and real daemons with one data path between them. */
export interface OracleMesh extends AsyncDisposable {
  readonly client: Pod;
  readonly server: Pod;
  /** Returns the number of inbound connections by logged path on the server's node. */
  paths(): Record<string, number>;
  /** Returns the anonymous resident memory of the proxies on the path, in bytes. */
  proxyMemory(): number;
}

/** Starts pods and daemons with the given data path. */
export async function startOracleMesh(name: OraclePath): Promise<OracleMesh> {
  const { kernelPath, node } = oraclePaths[name];
  const lab = await createLab();
  let mesh: LabMesh;
  try {
    await lab.node();
    await lab.node();
    mesh = await startMesh(lab, { kernelPath });
  } catch (error) {
    await lab.close();
    throw error;
  }
  const { pod: client } = await mesh.pod({ name: 'client' });
  const { pod: server } = await mesh.pod({ name: 'server', captured: { variant: 'nftables' } }, node);
  await untilEnrolled(mesh, [client, server]);
  const proxies = [mesh.proxyOf(client), mesh.proxyOf(server)];
  const watch = await mesh.proxyOf(server).watch();
  return {
    client,
    server,
    paths: () => {
      const counts: Record<string, number> = {};
      for (const { fields } of watch.lines) {
        const { direction, path = '' } = fields;
        if (direction === 'inbound') counts[path] = (counts[path] ?? 0) + 1;
      }
      return counts;
    },
    proxyMemory: () =>
      [...new Set(proxies.map(({ pid }) => pid))].reduce((sum, pid) => sum + ownMemory(pid), 0),
    [Symbol.asyncDispose]: async () => {
      await mesh.close();
      await lab.close();
    },
  };
}

function ownMemory(pid: number): number {
  return 1024 * Number(/RssAnon:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1]);
}
