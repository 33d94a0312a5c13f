import type { ConnectionsView } from '@kmesh/api';
import type { MeshState } from '@kmesh/orchestration';
import type { LiveConnections } from '@kmesh/probe';
import type { KernelPath } from '@kmesh/runtime';
import { badQuery } from '../admin/guard.ts';
import type { AdminSources } from '../admin/routes.ts';
import { describeTables, viewConnections } from '../admin/views.ts';
import { explainConnection } from '../admin/why.ts';
import type { Config } from '../config/config.ts';
import type { VersionInfo } from '../version.ts';
import type { XdsClient } from '../xds/client.ts';
import type { DataPlane } from './data-plane.ts';
import { overviewOf } from './overview.ts';
import type { PodLimits } from './pod-limits.ts';
import type { Readiness } from './readiness.ts';

/** Parts of the daemon that the views read. */
interface ViewSources {
  readonly config: Config;
  readonly version: VersionInfo;
  readonly startedAt: Date;
  readonly readiness: Readiness;
  readonly state: MeshState;
  readonly dataPlane: DataPlane;
  readonly live: LiveConnections;
  readonly limits: PodLimits;
  readonly kernelPath: KernelPath | undefined;
  /** Why the kernel path is off. */
  readonly kernelPathOff: string;
  readonly xds: () => XdsClient | undefined;
}

const defaultConnections = 200;
const mostConnections = 10_000;

/** Returns Kmesh's own views of the admin API, for the page and kmeshctl. */
export function adminViews(sources: ViewSources): AdminSources['views'] {
  const { config, state, kernelPath, live } = sources;
  return {
    '/kmesh/overview': () =>
      overviewOf({
        ...sources,
        version: sources.version.version,
        node: config.nodeName,
        xds: sources.xds(),
        xdsAddress: config.xdsAddress ?? '',
        places: { cgroup: config.kernelPath.cgroup ?? '', agentSocket: config.zdsSocket },
      }),
    '/kmesh/connections': (query) => connections(live, config.nodeName, query),
    '/kmesh/tables': (query) =>
      describeTables(kernelPath, sources.kernelPathOff, sources.dataPlane.kernelPods(), query.get('address')),
    '/kmesh/why': (query) =>
      explainConnection(
        {
          state,
          node: {
            node: config.nodeName,
            network: config.network,
            clusterDomain: config.clusterDomain,
            preferredNamespace: config.preferredServiceNamespace,
            ipv6: config.ipv6Enabled,
          },
          kernel: kernelPath?.tables,
          kernelPathOff: sources.kernelPathOff,
        },
        parameter(query, 'source'),
        parameter(query, 'destination'),
      ),
  };
}

/** Drops the counts of services that left the mesh. Returns an unsubscribe function. */
export function forgetRemovedServices(state: MeshState, live: LiveConnections): () => void {
  return state.subscribe((change) => {
    for (const key of change.services) if (state.service(key) === undefined) live.forgetService(key);
  });
}

function connections(live: LiveConnections, node: string, query: URLSearchParams): ConnectionsView {
  const limit = Number(query.get('limit') ?? defaultConnections);
  if (!Number.isInteger(limit) || limit < 1 || limit > mostConnections) {
    throw badQuery(`limit "${query.get('limit')}" is not allowed: 1 to ${mostConnections} is`);
  }
  const path = query.get('path') ?? undefined;
  if (path !== undefined && path !== 'kernel' && path !== 'tunnel') {
    throw badQuery(`path "${path}" is not allowed: kernel or tunnel is`);
  }
  return viewConnections(live, node, {
    limit,
    path,
    text: query.get('text') ?? undefined,
    namespace: query.get('namespace') ?? undefined,
  });
}

function parameter(query: URLSearchParams, name: string): string {
  const value = query.get(name);
  if (value === null || value === '') {
    throw badQuery(`${name} is missing: /kmesh/why?source=NAMESPACE/POD&destination=NAMESPACE/SERVICE:PORT`);
  }
  return value;
}
