import type { Overview, OverviewRoute, OverviewService } from '@kmesh/api';
import { probeCapabilities } from '@kmesh/linux';
import { type MeshState, reportRoutes, serviceKey } from '@kmesh/orchestration';
import type { LiveConnections } from '@kmesh/probe';
import type { KernelPath } from '@kmesh/runtime';
import { viewConnections } from '../admin/views.ts';
import type { XdsClient } from '../xds/client.ts';
import type { DataPlane, ServedPod } from './data-plane.ts';
import type { PodLimits } from './pod-limits.ts';
import type { Readiness } from './readiness.ts';

/** Sources of the overview. */
interface OverviewSources {
  readonly version: string;
  readonly node: string;
  readonly startedAt: Date;
  readonly readiness: Readiness;
  readonly state: MeshState;
  readonly dataPlane: DataPlane;
  readonly live: LiveConnections;
  readonly limits: PodLimits;
  readonly kernelPath: KernelPath | undefined;
  /** Why the kernel path is off. */
  readonly kernelPathOff: string;
  readonly xds: XdsClient | undefined;
  readonly xdsAddress: string;
  readonly places: Overview['places'];
}

const longestList = 500;
const shownConnections = 200;

/** Returns every pod that the CNI agent announced, served or pending. */
export function podsOf(dataPlane: DataPlane): readonly (ServedPod & { readonly state: 'Up' | 'Pending' })[] {
  return [
    ...dataPlane.list().map((pod) => ({ ...pod, state: 'Up' as const })),
    ...dataPlane.pending().map((pod) => ({ ...pod, state: 'Pending' as const })),
  ];
}

/** Returns the current data of the admin page. */
export function overviewOf(sources: OverviewSources): Overview {
  const { state, live } = sources;
  const { total, connections } = viewConnections(live, sources.node, { limit: shownConnections });
  return {
    version: sources.version,
    node: sources.node,
    startedAt: sources.startedAt.toISOString(),
    pending: sources.readiness.pending(),
    pods: podsOf(sources.dataPlane).map((pod) => {
      const workload = state.localWorkload(pod.namespace, pod.serviceAccount, pod.name);
      return {
        name: pod.name,
        namespace: pod.namespace,
        uid: pod.uid,
        state: pod.state,
        addresses: workload?.addresses ?? [],
        connections: workload === undefined ? 0 : live.countOf(workload.uid),
      };
    }),
    ...servicesOf(sources),
    routes: routesOf(state),
    connections,
    connectionCount: total,
    paths: (sources.kernelPath?.pathCounts() ?? []).filter((count) => count.connections > 0),
    capabilities: [
      {
        name: 'kernel path',
        available: sources.kernelPath !== undefined,
        reason: sources.kernelPath === undefined ? sources.kernelPathOff : '',
      },
      ...probeCapabilities().map((row) => ({
        name: row.description,
        available: row.available,
        reason: row.reason,
      })),
    ],
    controlPlane: controlPlaneOf(sources),
    places: sources.places,
    limits: sources.limits.list(),
  };
}

function routesOf(state: MeshState): OverviewRoute[] {
  return reportRoutes(state)
    .slice(0, longestList)
    .map(({ route, shares, problems }) => ({
      route,
      problems,
      shares: shares.map(({ service, port, backend, share, problem }) => ({
        service: `${service.namespace}/${service.name}:${port}`,
        backend: backend || '(none)',
        share,
        problem: problem ?? '',
      })),
    }));
}

function servicesOf({
  state,
  live,
}: OverviewSources): Pick<Overview, 'services' | 'serviceCount' | 'workloadCount' | 'policyCount'> {
  const all = [...state.services()].map((service) => ({
    service,
    counts: live.serviceConnections(serviceKey(service)),
  }));
  all.sort((left, right) => right.counts.opened - left.counts.opened);
  const services = all.slice(0, longestList).map(({ service, counts }): OverviewService => {
    const endpoints = [...state.endpoints(serviceKey(service)).values()];
    return {
      name: service.name,
      namespace: service.namespace,
      addresses: service.vips.map((vip) => vip.ip),
      healthyEndpoints: endpoints.filter((endpoint) => endpoint.status === 'Healthy').length,
      endpoints: endpoints.length,
      opened: counts.opened,
      failed: counts.failed,
    };
  });
  return {
    services,
    serviceCount: all.length,
    workloadCount: state.counts.workloads,
    policyCount: state.counts.policies,
  };
}

function controlPlaneOf({ xds, xdsAddress }: OverviewSources): Overview['controlPlane'] {
  if (xds === undefined) {
    const detail = 'xDS is off: XDS_ADDRESS is empty';
    return { address: '', connected: false, detail, setting: '', nextTryAt: '', routesRefused: false };
  }
  const status = xds.status();
  return {
    address: xdsAddress,
    connected: status.connected,
    detail: status.connected ? xdsAddress : (status.lastError?.cause ?? 'connecting'),
    setting: status.lastError?.setting ?? '',
    nextTryAt: status.nextTryAt === undefined ? '' : new Date(status.nextTryAt).toISOString(),
    routesRefused: status.routes === 'refused',
  };
}
