import type { Identity, Workload } from '@kmesh/api';
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
import type { AddressedService, RoutedConnection } from '@kmesh/probe';

/** The service and port that a client dialled. */
interface DialledPort {
  readonly service: AddressedService;
  readonly port: number;
}

/** Why the kernel tables refuse a connection, as an actionable text, and the route of the refused share, if any. */
interface KernelRefusal {
  readonly error: string;
  readonly routed?: RoutedConnection | undefined;
}

/**
 * Resolves the ids and addresses of kernel events. Called once per connection, at its first report. `time`, in
 * nanoseconds of CLOCK_MONOTONIC, is when it opened: an address may have been reassigned since.
 */
export interface KernelEventResolver {
  /** Returns the workload of an enrolled pod. */
  podWorkload(netnsCookie: number, time: number): Workload | undefined;
  /** Returns a workload by the id that the kernel tables use. */
  workload(id: number, time: number): Workload | undefined;
  /** Returns a service by the id that the kernel tables use. */
  service(id: number, time: number): AddressedService | undefined;
  /** Returns the service that a client dialled, if the id is of an earlier daemon's tables. Default: unknown. */
  dialledService?(client: Workload | undefined, ip: string): AddressedService | undefined;
  workloadByAddress(ip: string, time: number): Workload | undefined;
  /** Returns the identity that the kernel attests by an id. Default: unknown, as for an earlier daemon's tables. */
  identity?(id: number): Identity | undefined;
  /** Returns the service that inbound telemetry names (ambient contract 7.7). */
  inboundService(destination: Workload, port: number): AddressedService | undefined;
  /**
   * Returns whether to report an accepted connection without a client on this node's kernel path, because it came
   * directly to the pod, bypassing the tunnel. Default: no.
   */
  arrivedDirectly?(netnsCookie: number, clientAddress: string, clientPort: number): boolean;
  /** Returns whether the connections of this workload are also reported here from the client's side. Default: no. */
  isServedHere?(workload: Workload): boolean;
  /** Returns the route by which a server got a connection to a service that a client dialled. Default: none. */
  routed?(client: Workload, dialled: DialledPort, server: Workload): RoutedConnection | undefined;
  /** Returns why the kernel tables refuse the destination that a pod dialled. */
  refusal?(client: Workload, ip: string, port: number): KernelRefusal | undefined;
}

interface KernelResolverOptions {
  readonly view: MeshView & MeshHistory;
  /** The kernel tables that assigned the ids. */
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

/** Resolves kernel events by the mesh state and the kernel tables of the calling thread. */
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
