import type { Workload } from '@kmesh/api';
import { kmeshEventKind, kmeshPath } from '@kmesh/orchestration';
import type {
  AddressedService,
  ConnectionObserver,
  ObservedConnection,
  TransportMeasure,
} from '../connection.ts';
import { kernelEnding } from './close-reason.ts';
import { KernelEventReader } from './kernel-event.ts';
import { KernelConnectionStart, rawAddressText } from './kernel-start.ts';
import { LocalClients } from './local-clients.ts';

/** What the ids and addresses of kernel events mean. Asked once per connection, when it opens. */
export interface KernelEventResolver {
  /** The workload of an enrolled pod. */
  podWorkload(netnsCookie: number): Workload | undefined;
  /** By the id that the kernel tables use. */
  workload(id: number): Workload | undefined;
  /** By the id that the kernel tables use. */
  service(id: number): AddressedService | undefined;
  workloadByAddress(ip: string): Workload | undefined;
  /** The service that inbound telemetry names (ambient contract 7.7). */
  inboundService(destination: Workload, port: number): AddressedService | undefined;
  /**
   * Whether an accepted connection without a client on this node's kernel path came straight to the pod. The tunnel's
   * own connections to the pod look the same and are reported by the tunnel. Default: no.
   */
  arrivedDirectly?(netnsCookie: number, clientAddress: string, clientPort: number): boolean;
}

export interface KernelConnectionsOptions {
  readonly observer: ConnectionObserver;
  readonly resolver: KernelEventResolver;
}

interface OpenConnection {
  readonly observed: ObservedConnection;
  readonly outbound: boolean;
  readonly start: KernelConnectionStart;
  readonly openedAt: number;
  /** Live-flow reports in a row that did not have it. */
  missed: number;
}

/** A connection missing from so many reports of live flows has ended and its event was lost. */
const reportsUntilLost = 2;

/**
 * Turns the kernel's events into observed connections. Identity and service are taken when a connection opens. Only flows of
 * the kernel path are reported: the tunnel reports its own. A server side on this node is known by its client side,
 * whose identity the kernel attests.
 *
 * No event is needed for the counts to come right: a closing without an opening counts both, and the reports of live flows
 * find connections whose opening or closing was lost.
 */
export class KernelConnections {
  readonly #options: KernelConnectionsOptions;
  readonly #open = new Map<number, OpenConnection>();
  readonly #clients = new LocalClients();
  /** Connections ended without their event: should it still come, it is late, not new. */
  #settled = new Set<number>();
  #settledBefore = new Set<number>();
  #reconciled = 0;

  constructor(options: KernelConnectionsOptions) {
    this.#options = options;
  }

  /** Connections that were counted although an event of theirs was lost. */
  get reconciled(): number {
    return this.#reconciled;
  }

  /** Connections open now. */
  get open(): number {
    return this.#open.size;
  }

  /** Takes one batch of the event ring. */
  batch(bytes: Uint8Array, count: number): void {
    const event = new KernelEventReader(bytes, count);
    while (event.next()) {
      if (event.kind === kmeshEventKind.opened) this.#opened(event);
      else this.#ended(event, event.kind === kmeshEventKind.closed);
    }
    this.#clients.nextBatch();
  }

  /**
   * Takes a report of every live flow (records like events, whatever their kind), at least every 5 s: bytes so far,
   * and what became of connections whose events were lost.
   *
   * @param takenAt when the report was begun, nanoseconds of CLOCK_MONOTONIC; events up to then must have been handled
   */
  liveFlows(bytes: Uint8Array, count: number, takenAt: number): void {
    const seen = new Set<number>();
    const event = new KernelEventReader(bytes, count);
    while (event.next()) {
      const cookie = event.socketCookie;
      seen.add(cookie);
      let connection = this.#open.get(cookie);
      if (connection === undefined) {
        connection = this.#opened(event);
        if (connection === undefined) continue;
        this.#reconciled++;
      }
      connection.missed = 0;
      const { fromClient, fromServer } = bytesOf(event);
      connection.observed.progress(fromClient, fromServer, transportOf(event));
    }
    for (const [cookie, connection] of this.#open) {
      if (seen.has(cookie) || connection.openedAt > takenAt) continue;
      if (++connection.missed < reportsUntilLost) continue;
      this.#reconciled++;
      this.#settled.add(cookie);
      this.#forget(cookie, connection);
      connection.observed.close({ flag: '-' });
    }
    this.#settledBefore = this.#settled;
    this.#settled = new Set();
  }

  /** Ends what is open, when the daemon stops observing: the connections themselves go on in the kernel. */
  close(): void {
    for (const { observed } of this.#open.values()) observed.close({ flag: '-' });
    this.#open.clear();
    this.#clients.clear();
  }

  #opened(event: KernelEventReader): OpenConnection | undefined {
    const cookie = event.socketCookie;
    const already = this.#open.get(cookie);
    if (already !== undefined) return already;
    const start = event.outbound ? this.#outbound(event) : this.#inbound(event);
    if (start === undefined) return undefined;
    const connection: OpenConnection = {
      observed: this.#options.observer.opened(start),
      outbound: event.outbound,
      start,
      openedAt: event.timeNanoseconds,
      missed: 0,
    };
    this.#open.set(cookie, connection);
    return connection;
  }

  #ended(event: KernelEventReader, established: boolean): void {
    const cookie = event.socketCookie;
    if (this.#settled.delete(cookie) || this.#settledBefore.delete(cookie)) return;
    let connection = this.#open.get(cookie);
    if (connection === undefined) {
      connection = this.#opened(event);
      if (connection === undefined) return;
      if (established) this.#reconciled++;
    }
    this.#forget(cookie, connection);
    const { fromClient, fromServer } = bytesOf(event);
    connection.observed.close({
      ...kernelEnding(event.closeReason, established, connection.start),
      bytesFromClient: fromClient,
      bytesFromServer: fromServer,
      durationMilliseconds: event.durationNanoseconds / 1_000_000,
      transport: transportOf(event),
    });
  }

  #outbound(event: KernelEventReader): KernelConnectionStart | undefined {
    if (event.path !== kmeshPath.kernel) return undefined;
    const { resolver } = this.#options;
    const server = event.remote;
    const start = new KernelConnectionStart(
      'source',
      event.service === 0 ? 'workload' : 'balanced',
      event.local,
      server,
      resolver.podWorkload(event.netnsCookie),
      resolver.workload(event.workload) ?? resolver.workloadByAddress(rawAddressText(server)),
      resolver.service(event.service),
    );
    this.#clients.add(start);
    return start;
  }

  #inbound(event: KernelEventReader): KernelConnectionStart | undefined {
    const { resolver } = this.#options;
    const server = event.local;
    const peer = event.remote;
    const client = this.#clients.find(peer, server);
    const arrivedDirectly = () =>
      resolver.arrivedDirectly?.(event.netnsCookie, rawAddressText(peer), peer.port) ?? false;
    if (client === undefined && !arrivedDirectly()) return undefined;
    const destination = resolver.podWorkload(event.netnsCookie) ?? resolver.workload(event.workload);
    return new KernelConnectionStart(
      'destination',
      client === undefined ? 'plaintext' : undefined,
      peer,
      server,
      client === undefined ? resolver.workloadByAddress(rawAddressText(peer)) : client.source,
      destination,
      destination && resolver.inboundService(destination, server.port),
    );
  }

  #forget(cookie: number, connection: OpenConnection): void {
    this.#open.delete(cookie);
    if (connection.outbound) this.#clients.depart(connection.start);
  }
}

/** The kernel counts from its socket's side; records count from the client's. */
function bytesOf(event: KernelEventReader): { fromClient: number; fromServer: number } {
  return event.outbound
    ? { fromClient: event.bytesSent, fromServer: event.bytesReceived }
    : { fromClient: event.bytesReceived, fromServer: event.bytesSent };
}

function transportOf(event: KernelEventReader): TransportMeasure {
  return {
    retransmissions: event.retransmissions,
    smoothedRoundTripMicroseconds: event.smoothedRoundTripMicroseconds,
    minimalRoundTripMicroseconds: event.minimalRoundTripMicroseconds,
  };
}
