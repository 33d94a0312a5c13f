import { kmeshEventKind, kmeshEventLayout } from '@kmesh/orchestration';
import type {
  ConnectionObserver,
  CountedBytes,
  ObservedConnection,
  TransportMeasure,
} from '../connection.ts';
import { closedByPolicy, kernelEnding } from './close-reason.ts';
import { ConnectionNaming } from './connection-naming.ts';
import { KernelEventReader } from './kernel-event.ts';
import type { KernelEventResolver } from './kernel-event-resolver.ts';
import type { KernelConnectionStart } from './kernel-start.ts';

export interface KernelConnectionsOptions {
  readonly observer: ConnectionObserver;
  readonly resolver: KernelEventResolver;
  /**
   * Tells this daemon from earlier ones whose programs it took over, 1 to 65,535. Of the connections that they had counted
   * only what came since is counted. Default: there was none.
   */
  readonly generation?: number;
  /** Whether a connection was reset by this daemon because a policy denies it now; by the cookie of its socket. */
  readonly wasDenied?: (socketCookie: number) => boolean;
}

interface OpenConnection {
  readonly observed: ObservedConnection;
  readonly start: KernelConnectionStart;
  readonly openedAt: number;
  /** Live-flow reports in a row that did not have it. */
  missed: number;
}

/**
 * A connection missing from so many reports in a row has ended and its event was lost; one that is unknown to so many has
 * begun and its event was lost. One report alone may be ahead of events that wait in the ring.
 */
const reportsUntilLost = 2;

/** What an earlier daemon had counted of a connection that no event has named yet; `undefined`: nothing. */
type Unknown = ReadonlyMap<number, CountedBytes | undefined>;

/** A report of live flows while it is taken in. */
interface LiveReport {
  readonly takenAt: number;
  /** Nothing follows: what is unknown is believed at once. */
  readonly last: boolean;
  readonly seen: Set<number>;
  readonly unknown: Map<number, CountedBytes | undefined>;
  /** Accepted connections to be opened once every client is. */
  readonly accepted: Uint8Array[];
}

/**
 * Turns the kernel's events into observed connections. Identity and service are taken when a connection opens. Only flows of
 * the kernel path are reported: the tunnel reports its own, and the kernel says which it carries.
 *
 * No event is needed for the counts to come right: a closing without an opening counts both, and the reports of live flows
 * find connections whose opening or closing was lost.
 */
export class KernelConnections {
  readonly #observer: ConnectionObserver;
  readonly #generation: number | undefined;
  readonly #naming: ConnectionNaming;
  readonly #wasDenied: (socketCookie: number) => boolean;
  readonly #open = new Map<number, OpenConnection>();
  /** Connections ended without their event: should it still come, it is late, not new. */
  #settled = new Set<number>();
  #settledBefore = new Set<number>();
  #reconciled = 0;
  #report: LiveReport | undefined;
  /** In the last report, but of no event yet. */
  #unknown: Unknown = new Map();
  #doubtful = 0;

  constructor({ observer, resolver, generation, wasDenied }: KernelConnectionsOptions) {
    this.#observer = observer;
    this.#generation = generation;
    this.#wasDenied = wasDenied ?? (() => false);
    this.#naming = new ConnectionNaming(resolver);
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
      const { kind } = event;
      if (kind === kmeshEventKind.opened) this.#opened(event);
      else if (kind === kmeshEventKind.refused) this.#observer.earlyDeny(this.#naming.refusal(event));
      else this.#ended(event, kind === kmeshEventKind.closed);
    }
    this.#naming.nextBatch();
  }

  /**
   * Begins a report of every live flow, taken at least every 5 s: bytes so far, and what became of connections whose events
   * were lost. Events that were in the ring when one report began must have been handled when the next one does.
   *
   * @param takenAt nanoseconds of CLOCK_MONOTONIC
   * @param last this daemon ends after it: what it has counted by then another one goes on from
   */
  beginLiveReport(takenAt: number, last = false): void {
    this.#report = { takenAt, last, seen: new Set(), unknown: new Map(), accepted: [] };
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
        if (!report.unknown.has(cookie)) report.unknown.set(cookie, this.#earlier(event));
        if (!this.#unknown.has(cookie) && !report.last) continue;
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
    for (const cookie of report.unknown.keys()) if (!this.#unknown.has(cookie)) doubtful++;
    this.#doubtful = doubtful;
    this.#unknown = report.unknown;
    this.#settledBefore = this.#settled;
    this.#settled = settled;
  }

  /**
   * This daemon stops observing: the connections themselves go on in the kernel.
   *
   * @param continued another daemon goes on observing them: they are neither counted as closed nor logged here
   */
  close(continued = false): void {
    for (const { observed } of this.#open.values()) observed.close({ flag: '-', continued });
    this.#open.clear();
    this.#naming.clear();
  }

  #reconcile(event: KernelEventReader): OpenConnection | undefined {
    const connection = this.#opened(event);
    if (connection !== undefined && connection.start.earlier === undefined) this.#reconciled++;
    return connection;
  }

  #opened(event: KernelEventReader): OpenConnection | undefined {
    const cookie = event.socketCookie;
    const already = this.#open.get(cookie);
    if (already !== undefined) return already;
    const start = this.#naming.start(event, this.#unknown.get(cookie) ?? this.#earlier(event));
    if (start === undefined) return undefined;
    const connection: OpenConnection = {
      observed: this.#observer.opened(start),
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
      connection = established ? this.#reconcile(event) : this.#opened(event);
      if (connection === undefined) return;
    }
    this.#forget(cookie, connection);
    const { fromClient, fromServer } = bytesOf(event);
    const { flag, error } = this.#wasDenied(cookie)
      ? closedByPolicy
      : kernelEnding(event.closeReason, established, connection.start);
    connection.observed.close({
      flag,
      error,
      bytesFromClient: fromClient,
      bytesFromServer: fromServer,
      durationMilliseconds: event.durationNanoseconds / 1_000_000,
      transport: transportOf(event),
    });
  }

  /** What another daemon counted of this connection before. */
  #earlier(event: KernelEventReader): CountedBytes | undefined {
    const { countedBy } = event;
    if (countedBy === 0 || countedBy === this.#generation) return undefined;
    return event.outbound
      ? { fromClient: event.countedSent, fromServer: event.countedReceived }
      : { fromClient: event.countedReceived, fromServer: event.countedSent };
  }

  #forget(cookie: number, connection: OpenConnection): void {
    this.#open.delete(cookie);
    if (connection.start.reporter === 'source') this.#naming.depart(connection.start);
  }
}

function advance(connection: OpenConnection, event: KernelEventReader): void {
  connection.missed = 0;
  const { fromClient, fromServer } = bytesOf(event);
  connection.observed.progress(fromClient, fromServer, transportOf(event));
}

/** The kernel counts from its socket's side; records count from the client's. */
function bytesOf(event: KernelEventReader): CountedBytes {
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
