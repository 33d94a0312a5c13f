import type { Workload } from '@kmesh/api';
import { inboundService, type MeshView, servicesOfWorkload } from '@kmesh/orchestration';
import type { KernelEventResolver } from './kernel-connections.ts';

export interface KernelResolverOptions {
  readonly view: Pick<MeshView, 'workload' | 'service' | 'workloadByAddress'>;
  /** The kernel tables, which gave out the ids. */
  readonly tables: {
    workloadUid(id: number): string | undefined;
    serviceKey(id: number): string | undefined;
  };
  /** The workload of an enrolled pod. */
  readonly podWorkload: (netnsCookie: number) => Workload | undefined;
  /** This node's network. */
  readonly network: string;
  readonly arrivedDirectly?: KernelEventResolver['arrivedDirectly'];
  readonly isServedHere?: KernelEventResolver['isServedHere'];
}

/** What kernel events mean according to the mesh state and the kernel tables of the calling thread. */
export function createKernelResolver(options: KernelResolverOptions): KernelEventResolver {
  const { view, tables, podWorkload, network, arrivedDirectly, isServedHere } = options;
  return {
    podWorkload,
    workload: (id) => view.workload(tables.workloadUid(id) ?? ''),
    service: (id) => view.service(tables.serviceKey(id) ?? ''),
    workloadByAddress: (ip) => view.workloadByAddress(network, ip),
    inboundService: (destination, port) =>
      inboundService(destination, servicesOfWorkload(view, destination), port, undefined),
    ...(arrivedDirectly && { arrivedDirectly }),
    ...(isServedHere && { isServedHere }),
  };
}
