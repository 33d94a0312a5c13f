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

/** What a client dialled: a service, and its port. */
interface DialledPort {
  readonly service: AddressedService;
  readonly port: number;
}

/** Why the kernel tables refuse a connection, in words that a person can act on, and the route of the refused share, if any. */
interface KernelRefusal {
  readonly error: string;
  readonly routed?: RoutedConnection | undefined;
}

/**
 * What the ids and addresses of kernel events mean. Called once per connection, at its first report. `time`, in
 * nanoseconds of CLOCK_MONOTONIC, is when it opened: an address may have changed hands since.
 */
export interface KernelEventResolver {
  /** The workload of an enrolled pod. */
  podWorkload(netnsCookie: number, time: number): Workload | undefined;
  /** By the id that the kernel tables use. */
  workload(id: number, time: number): Workload | undefined;
  /** By the id that the kernel tables use. */
  service(id: number, time: number): AddressedService | undefined;
  /** What a client dialled, when the id is of an earlier daemon's tables. Default: unknown. */
  dialledService?(client: Workload | undefined, ip: string): AddressedService | undefined;
  workloadByAddress(ip: string, time: number): Workload | undefined;
  /** The identity that the kernel attests by an id. Default: unknown, as of an earlier daemon's tables. */
  identity?(id: number): Identity | undefined;
  /** The service that inbound telemetry names (ambient contract 7.7). */
  inboundService(destination: Workload, port: number): AddressedService | undefined;
  /**
   * Whether an accepted connection without a client on this node's kernel path is to be reported; it came straight to the
   * pod, past the tunnel. Default: no.
   */
  arrivedDirectly?(netnsCookie: number, clientAddress: string, clientPort: number): boolean;
  /** Whether the connections of this workload are reported here, as a client's, too. Default: no. */
  isServedHere?(workload: Workload): boolean;
  /** By which route a server got a connection to a service that a client dialled. Default: by none. */
  routed?(client: Workload, dialled: DialledPort, server: Workload): RoutedConnection | undefined;
  /** Why the kernel tables refuse what a pod dialled. */
  refusal?(client: Workload, ip: string, port: number): KernelRefusal | undefined;
}

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
