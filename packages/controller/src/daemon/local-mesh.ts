import type { KmeshError, Logger } from '@kmesh/api';
import type { MeshState } from '@kmesh/orchestration';
import { dumpPolicy, dumpPorts, dumpService, dumpWorkload } from '../admin/dump-model.ts';
import type { Config } from '../config/config.ts';
import { type LocalMesh, localMeshUpdates, parseLocalMesh } from '../local/local-mesh.ts';
import { watchLocalMesh } from '../local/watch-local-mesh.ts';

/** A watched local mesh file. */
interface FollowedLocalMesh {
  /** Returns the file's current content, for the config dump. */
  dump(): StaticConfig;
  close(): Promise<void>;
}

/** The `staticConfig` of the config dump (ambient contract 13.2). */
interface StaticConfig {
  readonly workloads: readonly unknown[];
  readonly policies: readonly unknown[];
  readonly services: readonly unknown[];
  readonly routes: readonly unknown[];
}

const empty: StaticConfig = { workloads: [], policies: [], services: [], routes: [] };

/**
 * Applies the local mesh file or the inline mesh (ambient contract 4) and watches the file.
 *
 * @throws KMESH_LOCAL_CONFIG_INVALID or KMESH_LOCAL_CONFIG_UNREADABLE if it is unusable at start.
 */
export async function followLocalMesh(
  config: Config,
  state: MeshState,
  logger: Logger,
): Promise<FollowedLocalMesh> {
  const { localMesh } = config;
  if (localMesh === undefined) return { dump: () => empty, close: () => Promise.resolve() };
  if ('inline' in localMesh) {
    const mesh = parseLocalMesh(localMesh.inline, 'LOCAL_XDS');
    state.apply(localMeshUpdates(undefined, mesh));
    return { dump: () => dumpOf(mesh), close: () => Promise.resolve() };
  }
  const watch = await watchLocalMesh(
    localMesh.path,
    (updates) => {
      state.apply(updates);
      logger.info('local mesh file applied', { path: localMesh.path, changes: updates.length });
    },
    (error: KmeshError) =>
      logger.error('local mesh file not applied; the last good state stays', { error: error.message }),
  );
  return { dump: () => dumpOf(watch.mesh), close: () => watch.close() };
}

function dumpOf(mesh: LocalMesh): StaticConfig {
  return {
    // As in the file: services with their ports, which the dump's own workloads omit.
    workloads: [...mesh.workloads.values()].map((workload) => ({
      ...dumpWorkload(workload),
      services: Object.fromEntries([...workload.services].map(([key, ports]) => [key, dumpPorts(ports)])),
    })),
    policies: [...mesh.policies.values()].map(dumpPolicy),
    services: [...mesh.services.values()].map((service) => dumpService(service, [])),
    routes: [...mesh.routes.values()],
  };
}
