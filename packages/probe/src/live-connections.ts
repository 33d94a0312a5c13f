import { performance } from 'node:perf_hooks';
import type {
  AddressedService,
  ConnectionEnd,
  ConnectionObserver,
  ConnectionStart,
  ObservedConnection,
  TransportMeasure,
} from './connection.ts';

/** An open connection at this moment. Rates are computed between the last two reports. */
export interface LiveConnection {
  readonly start: ConnectionStart;
  readonly seconds: number;
  readonly bytesFromClient: number;
  readonly bytesFromServer: number;
  readonly bytesPerSecondFromClient: number;
  readonly bytesPerSecondFromServer: number;
}

/** Connections of this node's pods to a service since the start. */
interface ServiceConnections {
  readonly opened: number;
  readonly failed: number;
}

/** Reports come at least every 5 s; one older than two intervals is stale. */
const reportLifetimeMilliseconds = 10_000;
/** Shorter intervals between reports are merged, since their rates would be noise. */
const shortestIntervalMilliseconds = 200;

/**
 * Tracks open connections for the operator's view, with constant work per event. It wraps another observer, which does
 * metrics and log.
 */
export class LiveConnections implements ConnectionObserver {
  readonly #next: ConnectionObserver;
  readonly #now: () => number;
  readonly #open = new Set<TrackedConnection>();
  readonly #ofWorkload = new Map<string, number>();
  readonly #services = new Map<string, ServiceCounts>();
  /** Counts by the service record, so that no text key is built per connection. */
  #byRecord = new WeakMap<AddressedService, ServiceCounts>();

  /** One closure shared by all connections. */
  readonly #ended = (connection: TrackedConnection, failed: boolean): void => {
    if (!this.#open.delete(connection)) return;
    this.#countWorkload(connection.opened, -1);
    if (connection.service !== undefined && failed) connection.service.failed++;
  };

  /** @param now returns milliseconds of a monotonic clock */
  constructor(next: ConnectionObserver, now: () => number = () => performance.now()) {
    this.#next = next;
    this.#now = now;
  }

  /** Number of open connections; both sides of a connection count. */
  get count(): number {
    return this.#open.size;
  }

  opened(start: ConnectionStart): ObservedConnection {
    const service = this.#serviceOf(start);
    if (service !== undefined) service.opened++;
    this.#countWorkload(start, 1);
    const connection = new TrackedConnection(
      start,
      this.#next.opened(start),
      service,
      this.#now,
      this.#ended,
    );
    this.#open.add(connection);
    return connection;
  }

  passed(start: ConnectionStart, end: ConnectionEnd): void {
    const service = this.#serviceOf(start);
    if (service !== undefined) {
      service.opened++;
      if (end.flag !== '-') service.failed++;
    }
    const next = this.#next;
    if (next.passed === undefined) next.opened(start).close(end);
    else next.passed(start, end);
  }

  earlyDeny(...deny: Parameters<ConnectionObserver['earlyDeny']>): void {
    this.#next.earlyDeny(...deny);
  }

  socketsOpen(...change: Parameters<ConnectionObserver['socketsOpen']>): void {
    this.#next.socketsOpen(...change);
  }

  /** Yields the names of every open connection. */
  *starts(): Generator<ConnectionStart> {
    for (const { start } of this.#open) yield start;
  }

  /** Returns the number of open connections of a workload on this node, opened and accepted ones. */
  countOf(workloadUid: string): number {
    return this.#ofWorkload.get(workloadUid) ?? 0;
  }

  /** Returns the connections of this node's pods to a service (`namespace/hostname`). */
  serviceConnections(serviceKey: string): ServiceConnections {
    return this.#services.get(serviceKey) ?? { opened: 0, failed: 0 };
  }

  /** Forgets a service that has left the mesh. */
  forgetService(serviceKey: string): void {
    this.#services.delete(serviceKey);
    this.#byRecord = new WeakMap();
  }

  /**
   * Returns the number of open connections that are `wanted`, and the busiest of them, at most `limit`, busiest first;
   * of equally busy ones the older first.
   */
  look(
    limit: number,
    wanted: (start: ConnectionStart) => boolean = () => true,
  ): { readonly total: number; readonly busiest: readonly LiveConnection[] } {
    const now = this.#now();
    let kept: { readonly connection: TrackedConnection; readonly weight: number }[] = [];
    let floor = -1;
    let total = 0;
    for (const connection of this.#open) {
      if (!wanted(connection.start)) continue;
      total++;
      const weight = totalRate(connection, now);
      if (weight <= floor) continue;
      kept.push({ connection, weight });
      // Sorting occasionally, not per connection, keeps a hundred thousand of them within milliseconds.
      if (kept.length < limit * 2) continue;
      kept = heaviest(kept, limit);
      floor = kept.at(-1)?.weight ?? -1;
    }
    return {
      total,
      busiest: heaviest(kept, limit).map(({ connection }) => describe(connection, now)),
    };
  }

  #serviceOf({ reporter, destinationService }: ConnectionStart): ServiceCounts | undefined {
    if (reporter !== 'source' || destinationService === undefined) return undefined;
    let counts = this.#byRecord.get(destinationService);
    if (counts !== undefined) return counts;
    const key = `${destinationService.namespace}/${destinationService.hostname}`;
    counts = this.#services.get(key) ?? { opened: 0, failed: 0 };
    this.#services.set(key, counts);
    this.#byRecord.set(destinationService, counts);
    return counts;
  }

  #countWorkload({ reporter, source, destination }: ConnectionStart, change: 1 | -1): void {
    const uid = (reporter === 'source' ? source : destination)?.uid;
    if (uid === undefined) return;
    const count = (this.#ofWorkload.get(uid) ?? 0) + change;
    if (count === 0) this.#ofWorkload.delete(uid);
    else this.#ofWorkload.set(uid, count);
  }
}

interface ServiceCounts {
  opened: number;
  failed: number;
}

/** A tracked connection, from the opening to the close. */
class TrackedConnection implements ObservedConnection {
  /** Its names when it opened. */
  readonly opened: ConnectionStart;
  /** Its names with later changes. */
  start: ConnectionStart;
  readonly service: ServiceCounts | undefined;
  readonly openedAt: number;
  fromClient = 0;
  fromServer = 0;
  reportedAt: number;
  /** Count at the previous report, the base for rates. */
  earlierFromClient = 0;
  earlierFromServer = 0;
  earlierAt: number;
  readonly #next: ObservedConnection;
  readonly #now: () => number;
  readonly #ended: (connection: TrackedConnection, failed: boolean) => void;

  constructor(
    start: ConnectionStart,
    next: ObservedConnection,
    service: ServiceCounts | undefined,
    now: () => number,
    ended: (connection: TrackedConnection, failed: boolean) => void,
  ) {
    this.opened = this.start = start;
    this.service = service;
    this.#next = next;
    this.#now = now;
    this.#ended = ended;
    this.openedAt = this.reportedAt = this.earlierAt = now();
  }

  progress(fromClient: number, fromServer: number, transport?: TransportMeasure): void {
    if (this.reportedAt - this.earlierAt >= shortestIntervalMilliseconds) {
      this.earlierFromClient = this.fromClient;
      this.earlierFromServer = this.fromServer;
      this.earlierAt = this.reportedAt;
    }
    this.fromClient = Math.max(fromClient, this.fromClient);
    this.fromServer = Math.max(fromServer, this.fromServer);
    this.reportedAt = this.#now();
    this.#next.progress(fromClient, fromServer, transport);
  }

  relabel(change: Parameters<ObservedConnection['relabel']>[0]): void {
    this.start = { ...this.start, ...change };
    this.#next.relabel(change);
  }

  close(end: ConnectionEnd): void {
    this.#ended(this, end.flag !== '-');
    this.#next.close(end);
  }
}

function rate(connection: TrackedConnection, bytes: number, now: number): number {
  const milliseconds = connection.reportedAt - connection.earlierAt;
  if (milliseconds <= 0 || now - connection.reportedAt > reportLifetimeMilliseconds) return 0;
  return (bytes * 1000) / milliseconds;
}

function totalRate(connection: TrackedConnection, now: number): number {
  const { fromClient, fromServer, earlierFromClient, earlierFromServer } = connection;
  return rate(connection, fromClient + fromServer - earlierFromClient - earlierFromServer, now);
}

function heaviest<Item extends { readonly weight: number }>(items: Item[], limit: number): Item[] {
  return items.sort((left, right) => right.weight - left.weight).slice(0, limit);
}

function describe(connection: TrackedConnection, now: number): LiveConnection {
  const { start, openedAt, fromClient, fromServer, earlierFromClient, earlierFromServer } = connection;
  return {
    start,
    seconds: (now - openedAt) / 1000,
    bytesFromClient: fromClient,
    bytesFromServer: fromServer,
    bytesPerSecondFromClient: rate(connection, fromClient - earlierFromClient, now),
    bytesPerSecondFromServer: rate(connection, fromServer - earlierFromServer, now),
  };
}
