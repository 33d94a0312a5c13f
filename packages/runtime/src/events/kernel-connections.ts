import type { ConnectionObserver, CountedBytes, ObservedConnection, TransportMeasure } from '@kmesh/probe';
import { kmeshEventKind, kmeshEventLayout } from '../tables/gen/layouts.ts';
import { closedByPolicy, kernelEnding } from './close-reason.ts';
import { ConnectionNaming, type HeldServer, HeldServers } from './connection-naming.ts';
import { flowHash, type KernelConnectionStart, KernelEventReader } from './kernel-event.ts';
import type { KernelEventResolver } from './kernel-resolver.ts';
import type { CountedSocket } from './live-flows.ts';

interface KernelConnectionsOptions {
  readonly observer: ConnectionObserver;
  readonly resolver: KernelEventResolver;
  /** Returns whether this daemon reset a connection because a policy denies it now; by the cookie of its socket. */
  readonly wasDenied?: (socketCookie: number) => boolean;
  /** Called with a workload's id when SYNs to its port went unanswered: connects take the tunnel path. */
  readonly onUnreachable?: (workload: number, port: number) => void;
  /** Milliseconds of a monotonic clock. */
  readonly now?: () => number;
}

interface OpenConnection {
  readonly observed: ObservedConnection;
  readonly start: KernelConnectionStart;
  readonly openedAt: number;
  /** Consecutive live-flow reports that did not contain it. */
  missed: number;
}

/**
 * A connection missing from this many consecutive reports has ended and its event was lost. A single report may be
 * ahead of events that wait in the ring.
 */
const reportsUntilLost = 2;

/** An open accepted connection, with the bytes that an earlier daemon had counted of it when it was first listed. */
interface AcceptedFlow {
  readonly record: Uint8Array;
  readonly earlier: CountedBytes | undefined;
}

/** A report of live flows in progress. */
interface LiveReport {
  readonly takenAt: number;
  readonly seen: Set<number>;
  /** Connections that ended meanwhile: the report may still contain them. */
  readonly ended: Set<number>;
  /** Accepted connections, to be opened after all clients. */
  readonly accepted: AcceptedFlow[];
}

/**
 * Turns the kernel's events into observed connections. Identity and service are those at the first report.
 * Only flows of the kernel path are reported: the tunnel reports its own, which the kernel marks.
 *
 * A short connection is reported once, when it ends, which counts its opening and its end. Reports of live flows
 * find long connections, and connections whose end event was lost.
 */
export class KernelConnections {
  readonly #observer: ConnectionObserver;
  readonly #naming: ConnectionNaming;
  readonly #wasDenied: (socketCookie: number) => boolean;
  readonly #onUnreachable: KernelConnectionsOptions['onUnreachable'];
  readonly #open = new Map<number, OpenConnection>();
  /** Connections ended without their event; if it still comes, it is late, not a new connection. */
  #settled = new Set<number>();
  #settledBefore = new Set<number>();
  #reconciled = 0;
  #report: LiveReport | undefined;
  #countedEarlier: (cookie: number) => CountedSocket | undefined = () => undefined;
  /**
   * Accepted flows of the last report without their client: it was listed in between, or its close was reported. By
   * socket.
   */
  #early = new Map<number, AcceptedFlow>();
  readonly #held = new HeldServers();
  #releasing: NodeJS.Timeout | undefined;
  readonly #now: () => number;

  constructor({ observer, resolver, wasDenied, onUnreachable, now }: KernelConnectionsOptions) {
    this.#now = now ?? (() => performance.now());
    this.#onUnreachable = onUnreachable;
    this.#observer = observer;
    this.#wasDenied = wasDenied ?? (() => false);
    this.#naming = new ConnectionNaming(resolver);
  }

  /** Number of connections that were counted although an event of theirs was lost. */
  get reconciled(): number {
    return this.#reconciled;
  }

  /** Number of open connections. */
  get open(): number {
    return this.#open.size;
  }

  /** Sets the lookup of bytes that an earlier daemon counted, by socket cookie: only bytes beyond those are counted. */
  continueFrom(countedEarlier: (cookie: number) => CountedSocket | undefined): void {
    this.#countedEarlier = countedEarlier;
  }

  /** Handles one batch of the event ring. */
  batch(bytes: Uint8Array, count: number): void {
    const event = new KernelEventReader(bytes, count);
    const ahead: number[] = [];
    for (let index = 0; event.next(); index++) {
      const { kind } = event;
      if (kind === kmeshEventKind.opened) this.#opened(event);
      else if (kind === kmeshEventKind.refused) this.#observer.earlyDeny(this.#naming.refusal(event));
      else if (kind === kmeshEventKind.unreachable) this.#onUnreachable?.(event.workload, event.dialled.port);
      else if (this.#isAhead(event)) ahead.push(index);
      else this.#ended(event, kind === kmeshEventKind.closed);
    }
    for (const index of ahead) {
      event.seek(index);
      if (!this.#naming.knowsClient(event) && this.#naming.expectsClient(event)) {
        this.#hold(event, recordAt(bytes, index));
      } else {
        this.#ended(event, event.kind === kmeshEventKind.closed);
      }
    }
    this.#releaseAll(this.#held.takeOverdue(this.#now()));
    this.#naming.nextBatch();
  }

  /**
   * Begins a report of every live flow, taken at least every 5 s. It yields new connections, bytes so far, and
   * connections whose end was lost. Events that were in the ring when one report began must have been handled when the
   * next one begins.
   *
   * @param takenAt nanoseconds of CLOCK_MONOTONIC
   */
  beginLiveReport(takenAt: number): void {
    this.#report = { takenAt, seen: new Set(), ended: new Set(), accepted: [] };
  }

  /** Adds a part of the report: records of open connections. The same flow may come again. */
  liveFlows(bytes: Uint8Array, count: number): void {
    const report = this.#report;
    if (report === undefined) return;
    const event = new KernelEventReader(bytes, count);
    for (let index = 0; event.next(); index++) {
      const cookie = event.socketCookie;
      report.seen.add(cookie);
      const known = this.#open.get(cookie);
      if (known !== undefined) advance(known, event);
      else if (report.ended.has(cookie)) continue;
      else if (event.outbound) this.#begun(event, this.#earlier(event));
      else report.accepted.push({ record: recordAt(bytes, index), earlier: this.#earlier(event) });
    }
  }

  /**
   * Ends the report: an open connection that it lacks for the second time has ended. Returns the cookies of the sockets
   * in the report.
   */
  endLiveReport(): ReadonlySet<number> {
    const report = this.#report;
    if (report === undefined) return new Set();
    this.#report = undefined;
    this.#openAccepted(report);
    const settled = new Set<number>();
    for (const [cookie, connection] of this.#open) {
      if (report.seen.has(cookie) || connection.openedAt > report.takenAt) continue;
      if (++connection.missed < reportsUntilLost) continue;
      this.#reconciled++;
      settled.add(cookie);
      this.#forget(cookie, connection.start, report.takenAt);
      connection.observed.close({ flag: '-' });
    }
    this.#settledBefore = this.#settled;
    this.#settled = settled;
    this.#releaseAll(this.#held.takeOverdue(this.#now()));
    this.#naming.nextReport();
    return report.seen;
  }

  /**
   * Stops observing; the connections themselves continue in the kernel.
   *
   * @param continued another daemon continues observing them: they are neither counted as closed nor logged here
   */
  close(continued = false): void {
    for (const flow of this.#early.values()) this.#openLate(flow);
    this.#early.clear();
    clearTimeout(this.#releasing);
    this.#releaseAll(this.#held.takeOverdue());
    for (const { observed } of this.#open.values()) observed.close({ flag: '-', continued });
    this.#open.clear();
    this.#naming.clear();
  }

  /** Returns whether an accepted connection ended before any event of it, even from its client's side. */
  #isAhead(event: KernelEventReader): boolean {
    if (event.outbound || this.#naming.knowsClient(event)) return false;
    const cookie = event.socketCookie;
    return cookie === 0 || !this.#open.has(cookie);
  }

  /**
   * Opens the accepted connections of a report. The sockets of one pod are listed after those of another, so an
   * accepted connection without its client waits for the next report, once.
   */
  #openAccepted(report: LiveReport): void {
    const before = this.#early;
    this.#early = new Map();
    for (const { record, earlier } of report.accepted) {
      const event = new KernelEventReader(record, 1);
      if (!event.next()) continue;
      const cookie = event.socketCookie;
      if (report.ended.has(cookie)) continue;
      if (!before.delete(cookie) && !this.#naming.knowsClient(event) && this.#naming.expectsClient(event)) {
        this.#early.set(cookie, { record, earlier });
        continue;
      }
      this.#begun(event, earlier);
    }
    // Neither listed again nor reported as closed: their end may be lost, but they must be counted.
    for (const flow of before.values()) this.#openLate(flow);
  }

  #openLate({ record, earlier }: AcceptedFlow): void {
    const event = new KernelEventReader(record, 1);
    if (event.next()) this.#begun(event, earlier);
  }

  #hold(event: KernelEventReader, record: Uint8Array): void {
    const cookie = event.socketCookie;
    const earlier = this.#earlier(event);
    if (cookie !== 0) this.#report?.ended.add(cookie);
    this.#early.delete(cookie);
    const hash = flowHash(event.remote, event.local);
    const gone = this.#held.hold({ record, earlier, hash, heldAt: this.#now() });
    if (gone !== undefined) this.#release(gone);
    this.#releaseInTime();
  }

  /** Releases overdue records by a timer, since a quiet node has no further batches. */
  #releaseInTime(): void {
    const wait = this.#held.overdueIn(this.#now());
    if (wait === undefined || this.#releasing !== undefined) return;
    this.#releasing = setTimeout(() => {
      this.#releasing = undefined;
      this.#releaseAll(this.#held.takeOverdue(this.#now()));
      this.#releaseInTime();
    }, wait).unref();
  }

  #releaseAll(servers: readonly HeldServer[]): void {
    for (const server of servers) this.#release(server);
  }

  #release({ record, earlier }: HeldServer): void {
    const event = new KernelEventReader(record, 1);
    if (event.next()) this.#ended(event, event.kind === kmeshEventKind.closed, earlier);
  }

  /** Ends the held servers of this client. */
  #releaseServers({ reporter, hash }: KernelConnectionStart): void {
    if (reporter === 'source') this.#releaseAll(this.#held.takeAlike(hash));
  }

  #begun(event: KernelEventReader, earlier: CountedBytes | undefined): void {
    const connection = this.#opened(event, earlier);
    if (connection !== undefined) advance(connection, event);
  }

  #opened(event: KernelEventReader, earlier?: CountedBytes): OpenConnection | undefined {
    const cookie = event.socketCookie;
    const already = this.#open.get(cookie);
    if (already !== undefined) return already;
    const start = this.#naming.start(event, earlier);
    if (start === undefined) return undefined;
    const observed = this.#observer.opened(start);
    const connection: OpenConnection = { observed, start, openedAt: event.timeNanoseconds, missed: 0 };
    this.#open.set(cookie, connection);
    this.#releaseServers(start);
    return connection;
  }

  #ended(event: KernelEventReader, established: boolean, earlier = this.#earlier(event)): void {
    const cookie = event.socketCookie;
    let connection: OpenConnection | undefined;
    // Without a cookie no report has contained it.
    if (cookie !== 0) {
      this.#report?.ended.add(cookie);
      this.#early.delete(cookie);
      if (this.#settled.delete(cookie) || this.#settledBefore.delete(cookie)) return;
      connection = this.#open.get(cookie);
    }
    const start = connection?.start ?? this.#naming.start(event, earlier);
    if (start === undefined) return;
    const { fromClient, fromServer } = bytesOf(event);
    const { flag, error } = this.#wasDenied(cookie)
      ? closedByPolicy
      : kernelEnding(event.closeReason, established, start);
    const end = {
      flag,
      error,
      bytesFromClient: fromClient,
      bytesFromServer: fromServer,
      durationMilliseconds: event.durationNanoseconds / 1_000_000,
      transport: transportOf(event),
    };
    if (connection !== undefined) connection.observed.close(end);
    else if (this.#observer.passed !== undefined) this.#observer.passed(start, end);
    else this.#observer.opened(start).close(end);
    this.#forget(cookie, start, event.timeNanoseconds);
    if (connection === undefined) this.#releaseServers(start);
  }

  /**
   * Returns what an earlier daemon counted of this connection; nothing without a cookie, since no list of sockets had
   * it.
   */
  #earlier(event: KernelEventReader): CountedBytes | undefined {
    const cookie = event.socketCookie;
    const early = this.#early.get(cookie);
    if (early !== undefined) return early.earlier;
    const counted = cookie === 0 ? undefined : this.#countedEarlier(cookie);
    if (counted === undefined) return undefined;
    const { sent, received } = counted;
    return event.outbound
      ? { fromClient: sent, fromServer: received }
      : { fromClient: received, fromServer: sent };
  }

  #forget(cookie: number, start: KernelConnectionStart, endedAt: number): void {
    if (cookie !== 0) this.#open.delete(cookie);
    if (start.reporter === 'source') this.#naming.depart(start, endedAt);
  }
}

/** Copies a record, so that it can be kept. */
function recordAt(bytes: Uint8Array, index: number): Uint8Array {
  const { size } = kmeshEventLayout;
  return bytes.slice(index * size, (index + 1) * size);
}

function advance(connection: OpenConnection, event: KernelEventReader): void {
  connection.missed = 0;
  const { fromClient, fromServer } = bytesOf(event);
  connection.observed.progress(fromClient, fromServer, transportOf(event));
}

/** Returns bytes from the client's view, as records count them; the kernel counts from the socket's side. */
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
