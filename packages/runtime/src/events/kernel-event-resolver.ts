import type { Identity, Workload } from '@kmesh/api';
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
 * What the ids and addresses of kernel events mean. Asked once per connection, when it is first heard of. `time`, in
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
