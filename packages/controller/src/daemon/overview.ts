import { type MeshState, serviceKey } from '@kmesh/orchestration';
import { probeCapabilities } from '@kmesh/runtime';
import type { Overview } from '../admin/overview.ts';
import type { Readiness } from '../lifecycle/readiness.ts';
import type { XdsClient } from '../xds/index.ts';
import type { DataPlane } from './data-plane.ts';
import type { KernelPath } from './kernel-path.ts';

/** Where the overview takes its parts from. */
export interface OverviewSources {
  readonly version: string;
  readonly node: string;
  readonly startedAt: Date;
  readonly readiness: Readiness;
  readonly state: MeshState;
  readonly dataPlane: DataPlane;
  readonly kernelPath: KernelPath | undefined;
  /** Why the kernel path is off. */
  readonly kernelPathOff: string;
  readonly xds: XdsClient | undefined;
  readonly xdsAddress: string;
}

const longestList = 500;

/** What the page for people shows, as of now. */
export function overviewOf(sources: OverviewSources): Overview {
  const { state } = sources;
  return {
    version: sources.version,
    node: sources.node,
    startedAt: sources.startedAt.toISOString(),
    pending: sources.readiness.pending(),
    pods: sources.dataPlane.list().map((pod) => ({
      name: pod.name,
      namespace: pod.namespace,
      uid: pod.uid,
      state: 'Up',
      addresses: state.localWorkload(pod.namespace, pod.serviceAccount, pod.name)?.addresses ?? [],
      connections: 0,
    })),
    services: [...state.services()].slice(0, longestList).map((service) => {
      const endpoints = [...state.endpoints(serviceKey(service)).values()];
      return {
        name: service.name,
        namespace: service.namespace,
        addresses: service.vips.map((vip) => vip.ip),
        healthyEndpoints: endpoints.filter((endpoint) => endpoint.status === 'Healthy').length,
        endpoints: endpoints.length,
        opened: 0,
        failed: 0,
      };
    }),
    connections: [],
    connectionCount: 0,
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
  };
}

function controlPlaneOf({ xds, xdsAddress }: OverviewSources): Overview['controlPlane'] {
  if (xds === undefined) return { address: '', connected: false, detail: 'xDS is off: XDS_ADDRESS is empty' };
  const status = xds.status();
  return {
    address: xdsAddress,
    connected: status.connected,
    detail: status.connected ? xdsAddress : (status.lastError?.cause ?? 'connecting'),
  };
}
