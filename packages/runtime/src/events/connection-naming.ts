import type { CountedBytes, EarlyDeny } from '@kmesh/probe';
import { kmeshPath, kmeshReason } from '../tables/gen/layouts.ts';
import { endpointText } from './address-text.ts';
import type { KernelEventReader } from './kernel-event.ts';
import type { KernelEventResolver } from './kernel-resolver.ts';
import { KernelConnectionStart, type RawEndpoint, rawAddressText } from './kernel-start.ts';
import { LocalClients } from './local-clients.ts';

/**
 * Who and what a kernel connection is, asked once, and as of when it opened. A server side on this node is known by its client side,
 * whose identity the kernel attests.
 */
export class ConnectionNaming {
  readonly #resolver: KernelEventResolver;
  readonly #clients = new LocalClients();

  constructor(resolver: KernelEventResolver) {
    this.#resolver = resolver;
  }

  /**
   * Names the connection of an event; `undefined` when somebody else reports it, or nobody does.
   *
   * @param earlier what an earlier daemon counted of it
   */
  start(event: KernelEventReader, earlier: CountedBytes | undefined): KernelConnectionStart | undefined {
    return event.outbound ? this.#outbound(event, earlier) : this.#inbound(event, earlier);
  }

  /** Whether the client's side of an accepted connection has been heard of. */
  knowsClient(event: KernelEventReader): boolean {
    return this.#clients.find(event.remote, event.local, openedAt(event)) !== undefined;
  }

  /** Whether the client of an accepted connection is on this node: it will be heard of. */
  expectsClient(event: KernelEventReader): boolean {
    const resolver = this.#resolver;
    if (event.path === kmeshPath.tunnel) return false;
    const source = resolver.workloadByAddress(rawAddressText(event.remote), openedAt(event));
    return resolver.isServedHere === undefined || (source !== undefined && resolver.isServedHere(source));
  }

  /** A client's side has ended then (nanoseconds of CLOCK_MONOTONIC): its server's side may still come for a while. */
  depart(start: KernelConnectionStart, endedAt: number): void {
    this.#clients.depart(start, endedAt);
  }

  /** One more batch of events was handled. */
  nextBatch(): void {
    this.#clients.nextBatch();
  }

  /** One more report of live flows was taken. */
  nextReport(): void {
    this.#clients.nextReport();
  }

  clear(): void {
    this.#clients.clear();
  }

  /** A connect that the hook refused; the socket had no port yet. */
  refusal(event: KernelEventReader): EarlyDeny {
    const { dialled } = event;
    const ip = rawAddressText(dialled);
    const client = this.#resolver.podWorkload(event.netnsCookie, event.timeNanoseconds);
    const family = ip.includes(':');
    const own = client?.addresses.find((address) => address.includes(':') === family);
    const bare = event.closeReason === kmeshReason.refusedBare;
    const refusal =
      bare || client === undefined ? undefined : this.#resolver.refusal?.(client, ip, dialled.port);
    return {
      reporter: 'source',
      sourceAddress: endpointText(own ?? (family ? '::' : '0.0.0.0'), 0),
      destinationAddress: endpointText(ip, dialled.port),
      error: bare
        ? 'The tunnel path has to serve this connection, and nothing brings it there: this pod has no capture rules, and it cannot be handed to its proxy.'
        : (refusal?.error ?? 'Nothing in the mesh serves this address and port.'),
      routed: refusal?.routed,
      pod: client,
    };
  }

  #outbound(event: KernelEventReader, earlier: CountedBytes | undefined): KernelConnectionStart | undefined {
    if (event.path !== kmeshPath.kernel) return undefined;
    const resolver = this.#resolver;
    const time = openedAt(event);
    const server = event.remote;
    const source = resolver.podWorkload(event.netnsCookie, time);
    const destination =
      resolver.workload(event.workload, time) ?? resolver.workloadByAddress(rawAddressText(server), time);
    const service =
      event.service === 0
        ? undefined
        : (resolver.service(event.service, time) ??
          resolver.dialledService?.(source, rawAddressText(event.dialled)));
    const { port } = event.dialled;
    const start = new KernelConnectionStart(
      'source',
      event.service !== 0 ? 'balanced' : destination === undefined ? 'passthrough' : 'workload',
      event.local,
      server,
      source,
      destination,
      service,
      earlier,
      event.attested ? source : undefined,
      event.service === 0 || port === 0 ? undefined : event.dialled,
      source && destination && service && resolver.routed?.(source, { service, port }, destination),
    );
    this.#clients.add(start);
    return start;
  }

  #inbound(event: KernelEventReader, earlier: CountedBytes | undefined): KernelConnectionStart | undefined {
    if (event.path === kmeshPath.tunnel) return undefined;
    const resolver = this.#resolver;
    const server = event.local;
    const peer = event.remote;
    const time = openedAt(event);
    const client = this.#clients.find(peer, server, time);
    if (client === undefined && !this.#arrivedDirectly(event, peer)) return undefined;
    const destination =
      resolver.podWorkload(event.netnsCookie, time) ?? resolver.workload(event.workload, time);
    const source =
      client === undefined ? resolver.workloadByAddress(rawAddressText(peer), time) : client.source;
    const counted = client !== undefined || (source !== undefined && resolver.isServedHere?.(source));
    return new KernelConnectionStart(
      'destination',
      counted ? undefined : 'plaintext',
      peer,
      server,
      source,
      destination,
      // What the client dialled; where that is not known it is told from the port (ambient contract 7.7).
      client?.destinationService ?? (destination && resolver.inboundService(destination, server.port)),
      earlier,
      event.attested ? (resolver.identity?.(event.peerIdentity) ?? source) : undefined,
    );
  }

  #arrivedDirectly(event: KernelEventReader, peer: RawEndpoint): boolean {
    if (event.path !== kmeshPath.kernel) return false;
    return this.#resolver.arrivedDirectly?.(event.netnsCookie, rawAddressText(peer), peer.port) ?? false;
  }
}

/** When the connection's handshake began. */
function openedAt(event: KernelEventReader): number {
  return event.timeNanoseconds - event.durationNanoseconds;
}
