import type { Identity } from '@kmesh/api';
import {
  bestServiceByVip,
  inboundService,
  type MeshHistory,
  type MeshView,
  resolveOutbound,
  routeUseOf,
  serviceKey,
  servicesOfWorkload,
} from '@kmesh/orchestration';
import type { KernelEventResolver } from './kernel-event-resolver.ts';

interface KernelResolverOptions {
  readonly view: MeshView & MeshHistory;
  /** The kernel tables, which gave out the ids. */
  readonly tables: {
    workloadUid(id: number): string | undefined;
    serviceKey(id: number): string | undefined;
    identity(id: number): Identity | undefined;
  };
  /** The workload of an enrolled pod. */
  readonly podWorkload: KernelEventResolver['podWorkload'];
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
    workload: (id, time) => view.workloadAt(tables.workloadUid(id) ?? '', time),
    service: (id, time) => view.serviceAt(tables.serviceKey(id) ?? '', time),
    identity: (id) => tables.identity(id),
    dialledService: (client, ip) => bestServiceByVip(view, network, ip, client?.namespace),
    workloadByAddress: (ip, time) => view.workloadByAddressAt(network, ip, time),
    inboundService: (destination, port) =>
      inboundService(destination, servicesOfWorkload(view, destination), port, undefined),
    routed({ namespace: clientNamespace }, { service: { namespace, hostname }, port }, server) {
      if (view.routesOf(hostname).length === 0) return undefined;
      const service = view.service(serviceKey({ namespace, hostname }));
      return service && routeUseOf(view, { service, port, clientNamespace }, server);
    },
    refusal(source, ip, port) {
      const clientIp = source.addresses[0] ?? ip;
      const decision = resolveOutbound(view, { source, clientIp, destination: { ip, port } });
      return decision.kind === 'refused' ? { error: decision.message, routed: decision.route } : undefined;
    },
    ...(arrivedDirectly && { arrivedDirectly }),
    ...(isServedHere && { isServedHere }),
  };
}
