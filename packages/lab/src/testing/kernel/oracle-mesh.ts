import { readFileSync } from 'node:fs';
import { type LabMesh, startMesh } from '../../mesh/lab-mesh.ts';
import { createLab } from '../../network/lab.ts';
import type { Pod } from '../../pods/pod.ts';
import { untilEnrolled } from '../traffic/paths.ts';

/** The ways that bytes take through the mesh, each with its settings. */
export const oraclePaths = {
  'the kernel path': { kernelPath: true, node: 0, path: 'kernel' },
  'the tunnel path': { kernelPath: false, node: 0, path: 'tunnel' },
  'the tunnel path to another node': { kernelPath: true, node: 1, path: 'tunnel' },
} as const;

/** Name of one of {@link oraclePaths}. */
export type OraclePath = keyof typeof oraclePaths;

/** Captured pods, real daemons, and one way between them. */
export interface OracleMesh extends AsyncDisposable {
  readonly client: Pod;
  readonly server: Pod;
  /** Paths that the server's node has logged for inbound connections, with their numbers. */
  paths(): Record<string, number>;
  /** Memory of the proxies that the bytes pass, without what they share with the kernel or a file, in bytes. */
  proxyMemory(): number;
}

/** Builds it. */
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
