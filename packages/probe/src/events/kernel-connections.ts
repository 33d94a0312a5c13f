import type { Workload } from '@kmesh/api';
import { kmeshEventKind, kmeshEventLayout, kmeshPath } from '@kmesh/orchestration';
import type {
  AddressedService,
  ConnectionObserver,
  ObservedConnection,
  TransportMeasure,
} from '../connection.ts';
import { kernelEnding } from './close-reason.ts';
import { KernelEventReader } from './kernel-event.ts';
import { KernelConnectionStart, type RawEndpoint, rawAddressText } from './kernel-start.ts';
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
   * Whether an accepted connection without a client on this node's kernel path is to be reported; it came straight to the
   * pod, past the tunnel. Default: no.
   */
  arrivedDirectly?(netnsCookie: number, clientAddress: string, clientPort: number): boolean;
  /** Whether the connections of this workload are reported here, as a client's, too. Default: no. */
  isServedHere?(workload: Workload): boolean;
}

export interface KernelConnectionsOptions {
  readonly observer: ConnectionObserver;
  readonly resolver: KernelEventResolver;
  /**
   * When this process began to observe, nanoseconds of CLOCK_MONOTONIC. Of connections that began before, under an earlier
   * daemon whose programs were taken over, only the bytes from now on are counted: it has counted the others.
   */
  readonly since?: number;
}

interface OpenConnection {
  readonly observed: ObservedConnection;
  readonly outbound: boolean;
  readonly start: KernelConnectionStart;
  readonly openedAt: number;
  /** Bytes that an earlier daemon has counted. */
  readonly counted: Bytes;
  /** Live-flow reports in a row that did not have it. */
  missed: number;
}

interface Bytes {
  readonly fromClient: number;
  readonly fromServer: number;
}

const nothing: Bytes = { fromClient: 0, fromServer: 0 };

/**
 * A connection missing from so many reports in a row has ended and its event was lost; one that is unknown to so many has
 * begun and its event was lost. One report alone may be ahead of events that wait in the ring.
 */
const reportsUntilLost = 2;

/** A report of live flows while it is taken in. */
interface LiveReport {
  readonly takenAt: number;
  readonly seen: Set<number>;
  readonly unknown: Set<number>;
  /** Accepted connections to be opened once every client is. */
  readonly accepted: Uint8Array[];
}

/**
 * Turns the kernel's events into observed connections. Identity and service are taken when a connection opens. Only flows of
 * the kernel path are reported: the tunnel reports its own, and the kernel says which it carries. A server side on this
 * node is known by its client side, whose identity the kernel attests.
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
  #report: LiveReport | undefined;
  /** In the last report, but of no event yet. */
  #unknown: ReadonlySet<number> = new Set();
  #doubtful = 0;

  constructor(options: KernelConnectionsOptions) {
    this.#options = options;
  }

  /** Connections that were counted although an event of theirs was lost. */
  get reconciled(): number {
    return this.#reconciled;
  }

  /** Connections of which the last report and the events say different things: the next report settles them. */
  get doubtful(): number {
    return this.#doubtful;
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
   * Begins a report of every live flow, taken at least every 5 s: bytes so far, and what became of connections whose events
   * were lost. Events that were in the ring when one report began must have been handled when the next one does.
   *
   * @param takenAt nanoseconds of CLOCK_MONOTONIC
   */
  beginLiveReport(takenAt: number): void {
    this.#report = { takenAt, seen: new Set(), unknown: new Set(), accepted: [] };
  }

  /** Takes a part of the report that was begun: records of kind `live`. The same flow may come again. */
  liveFlows(bytes: Uint8Array, count: number): void {
    const report = this.#report;
    if (report === undefined) return;
    const event = new KernelEventReader(bytes, count);
    for (let index = 0; event.next(); index++) {
      const cookie = event.socketCookie;
      report.seen.add(cookie);
      let connection = this.#open.get(cookie);
      if (connection === undefined) {
        report.unknown.add(cookie);
        if (!this.#unknown.has(cookie)) continue;
        if (!event.outbound) {
          const { size } = kmeshEventLayout;
          report.accepted.push(bytes.slice(index * size, (index + 1) * size));
          continue;
        }
        connection = this.#reconcile(event);
        if (connection === undefined) continue;
      }
      advance(connection, event);
    }
  }

  /** Ends the report: what is open and was not in it for the second time has ended. */
  endLiveReport(): void {
    const report = this.#report;
    if (report === undefined) return;
    this.#report = undefined;
    for (const bytes of report.accepted) {
      const event = new KernelEventReader(bytes, 1);
      if (!event.next() || this.#open.has(event.socketCookie)) continue;
      const connection = this.#reconcile(event);
      if (connection !== undefined) advance(connection, event);
    }
    let doubtful = 0;
    const settled = new Set<number>();
    for (const [cookie, connection] of this.#open) {
      if (report.seen.has(cookie) || connection.openedAt > report.takenAt) continue;
      doubtful++;
      if (++connection.missed < reportsUntilLost) continue;
      this.#reconciled++;
      settled.add(cookie);
      this.#forget(cookie, connection);
      connection.observed.close({ flag: '-' });
    }
    for (const cookie of report.unknown) if (!this.#unknown.has(cookie)) doubtful++;
    this.#doubtful = doubtful;
    this.#unknown = report.unknown;
    this.#settledBefore = this.#settled;
    this.#settled = settled;
  }

  /** Ends what is open, when the daemon stops observing: the connections themselves go on in the kernel. */
  close(): void {
    for (const { observed } of this.#open.values()) observed.close({ flag: '-' });
    this.#open.clear();
    this.#clients.clear();
  }

  #reconcile(event: KernelEventReader): OpenConnection | undefined {
    const connection = this.#opened(event);
    if (connection !== undefined && !this.#isInherited(event)) this.#reconciled++;
    return connection;
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
      counted: this.#isInherited(event) ? bytesOf(event) : nothing,
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
      if (established && !this.#isInherited(event)) this.#reconciled++;
    }
    this.#forget(cookie, connection);
    const { fromClient, fromServer } = uncounted(connection, event);
    connection.observed.close({
      ...kernelEnding(event.closeReason, established, connection.start),
      bytesFromClient: fromClient,
      bytesFromServer: fromServer,
      durationMilliseconds: event.durationNanoseconds / 1_000_000,
      transport: transportOf(event),
    });
  }

  #isInherited(event: KernelEventReader): boolean {
    return event.timeNanoseconds - event.durationNanoseconds < (this.#options.since ?? 0);
  }

  #outbound(event: KernelEventReader): KernelConnectionStart | undefined {
    if (event.path !== kmeshPath.kernel) return undefined;
    const { resolver } = this.#options;
    const server = event.remote;
    const destination =
      resolver.workload(event.workload) ?? resolver.workloadByAddress(rawAddressText(server));
    const start = new KernelConnectionStart(
      'source',
      event.service !== 0 ? 'balanced' : destination === undefined ? 'passthrough' : 'workload',
      event.local,
      server,
      resolver.podWorkload(event.netnsCookie),
      destination,
      resolver.service(event.service),
    );
    this.#clients.add(start);
    return start;
  }

  #inbound(event: KernelEventReader): KernelConnectionStart | undefined {
    if (event.path === kmeshPath.tunnel) return undefined;
    const { resolver } = this.#options;
    const server = event.local;
    const peer = event.remote;
    const client = this.#clients.find(peer, server);
    if (client === undefined && !this.#arrivedDirectly(event, peer)) return undefined;
    const destination = resolver.podWorkload(event.netnsCookie) ?? resolver.workload(event.workload);
    const source = client === undefined ? resolver.workloadByAddress(rawAddressText(peer)) : client.source;
    const counted = client !== undefined || (source !== undefined && resolver.isServedHere?.(source));
    return new KernelConnectionStart(
      'destination',
      counted ? undefined : 'plaintext',
      peer,
      server,
      source,
      destination,
      destination && resolver.inboundService(destination, server.port),
    );
  }

  #arrivedDirectly(event: KernelEventReader, peer: RawEndpoint): boolean {
    if (event.path !== kmeshPath.kernel) return false;
    const { resolver } = this.#options;
    return resolver.arrivedDirectly?.(event.netnsCookie, rawAddressText(peer), peer.port) ?? false;
  }

  #forget(cookie: number, connection: OpenConnection): void {
    this.#open.delete(cookie);
    if (connection.outbound) this.#clients.depart(connection.start);
  }
}

function advance(connection: OpenConnection, event: KernelEventReader): void {
  connection.missed = 0;
  const { fromClient, fromServer } = uncounted(connection, event);
  connection.observed.progress(fromClient, fromServer, transportOf(event));
}

function uncounted({ counted }: OpenConnection, event: KernelEventReader): Bytes {
  const { fromClient, fromServer } = bytesOf(event);
  return { fromClient: fromClient - counted.fromClient, fromServer: fromServer - counted.fromServer };
}

/** The kernel counts from its socket's side; records count from the client's. */
function bytesOf(event: KernelEventReader): Bytes {
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
