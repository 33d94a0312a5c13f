import { performance } from 'node:perf_hooks';
import type { ConnectionObserver, ConnectionStart, ObservedConnection } from './connection.ts';

/** An open connection, as of now. Bytes per second are those between the last two reports. */
export interface LiveConnection {
  readonly start: ConnectionStart;
  readonly seconds: number;
  readonly bytesFromClient: number;
  readonly bytesFromServer: number;
  readonly bytesPerSecondFromClient: number;
  readonly bytesPerSecondFromServer: number;
}

/** Connections of this node's pods to a service since the start. */
export interface ServiceConnections {
  readonly opened: number;
  readonly failed: number;
}

/** Reports come at least every 5 s; one that is older than two of them says nothing about now. */
const reportLifetimeMilliseconds = 10_000;
/** Shorter intervals between two reports are joined: they would make rates of noise. */
const shortestIntervalMilliseconds = 200;

/**
 * Knows the connections that are open: an observer in front of another one, constant work per event. For the operator's view;
 * metrics and log are the other observer's.
 */
export class LiveConnections implements ConnectionObserver {
  readonly #next: ConnectionObserver;
  readonly #now: () => number;
  readonly #open = new Set<Tracked>();
  readonly #ofWorkload = new Map<string, number>();
  readonly #services = new Map<string, { opened: number; failed: number }>();

  /** @param now milliseconds of a clock that never goes back */
  constructor(next: ConnectionObserver, now: () => number = () => performance.now()) {
    this.#next = next;
    this.#now = now;
  }

  /** Open connections, both sides of one counted. */
  get count(): number {
    return this.#open.size;
  }

  opened(start: ConnectionStart): ObservedConnection {
    const connection: Tracked = {
      start,
      openedAt: this.#now(),
      fromClient: 0,
      fromServer: 0,
      reportedAt: 0,
      earlier: { fromClient: 0, fromServer: 0, at: 0 },
    };
    connection.reportedAt = connection.openedAt;
    connection.earlier.at = connection.openedAt;
    this.#open.add(connection);
    this.#countWorkload(start, 1);
    const service = this.#serviceOf(start);
    if (service !== undefined) service.opened++;
    const observed = this.#next.opened(start);
    return {
      progress: (bytesFromClient, bytesFromServer, transport) => {
        report(connection, bytesFromClient, bytesFromServer, this.#now());
        observed.progress(bytesFromClient, bytesFromServer, transport);
      },
      relabel: (change) => {
        connection.start = { ...connection.start, ...change };
        observed.relabel(change);
      },
      close: (end) => {
        if (this.#open.delete(connection)) {
          this.#countWorkload(start, -1);
          if (service !== undefined && end.flag !== '-') service.failed++;
        }
        observed.close(end);
      },
    };
  }

  earlyDeny(...deny: Parameters<ConnectionObserver['earlyDeny']>): void {
    this.#next.earlyDeny(...deny);
  }

  socketsOpen(...change: Parameters<ConnectionObserver['socketsOpen']>): void {
    this.#next.socketsOpen(...change);
  }

  /** Who and where of every open connection. */
  *starts(): Generator<ConnectionStart> {
    for (const { start } of this.#open) yield start;
  }

  /** Open connections of a workload on this node, those that it opened and those that it accepted. */
  countOf(workloadUid: string): number {
    return this.#ofWorkload.get(workloadUid) ?? 0;
  }

  /** What this node's pods did with a service (`namespace/hostname`). */
  serviceConnections(serviceKey: string): ServiceConnections {
    return this.#services.get(serviceKey) ?? { opened: 0, failed: 0 };
  }

  /** The service has left the mesh. */
  forgetService(serviceKey: string): void {
    this.#services.delete(serviceKey);
  }

  /**
   * The open connections that are `wanted`: how many there are, and the busiest of them, at most `limit`, busiest first;
   * the older one first where both are equally busy.
   */
  look(
    limit: number,
    wanted: (start: ConnectionStart) => boolean = () => true,
  ): { readonly total: number; readonly busiest: readonly LiveConnection[] } {
    const now = this.#now();
    let kept: { readonly connection: Tracked; readonly weight: number }[] = [];
    let floor = -1;
    let total = 0;
    for (const connection of this.#open) {
      if (!wanted(connection.start)) continue;
      total++;
      const weight = totalRate(connection, now);
      if (weight <= floor) continue;
      kept.push({ connection, weight });
      // Sorting now and then, not per connection, keeps a hundred thousand of them within milliseconds.
      if (kept.length < limit * 2) continue;
      kept = heaviest(kept, limit);
      floor = kept.at(-1)?.weight ?? -1;
    }
    return {
      total,
      busiest: heaviest(kept, limit).map(({ connection }) => describe(connection, now)),
    };
  }

  #serviceOf({
    reporter,
    destinationService,
  }: ConnectionStart): { opened: number; failed: number } | undefined {
    if (reporter !== 'source' || destinationService === undefined) return undefined;
    const key = `${destinationService.namespace}/${destinationService.hostname}`;
    let counts = this.#services.get(key);
    if (counts === undefined) {
      counts = { opened: 0, failed: 0 };
      this.#services.set(key, counts);
    }
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

interface Tracked {
  start: ConnectionStart;
  readonly openedAt: number;
  fromClient: number;
  fromServer: number;
  reportedAt: number;
  readonly earlier: { fromClient: number; fromServer: number; at: number };
}

function report(connection: Tracked, fromClient: number, fromServer: number, now: number): void {
  const { earlier } = connection;
  if (connection.reportedAt - earlier.at >= shortestIntervalMilliseconds) {
    earlier.fromClient = connection.fromClient;
    earlier.fromServer = connection.fromServer;
    earlier.at = connection.reportedAt;
  }
  connection.fromClient = Math.max(fromClient, connection.fromClient);
  connection.fromServer = Math.max(fromServer, connection.fromServer);
  connection.reportedAt = now;
}

function rate(connection: Tracked, bytes: number, now: number): number {
  const milliseconds = connection.reportedAt - connection.earlier.at;
  if (milliseconds <= 0 || now - connection.reportedAt > reportLifetimeMilliseconds) return 0;
  return (bytes * 1000) / milliseconds;
}

function totalRate(connection: Tracked, now: number): number {
  const { fromClient, fromServer, earlier } = connection;
  return rate(connection, fromClient + fromServer - earlier.fromClient - earlier.fromServer, now);
}

function heaviest<Item extends { readonly weight: number }>(items: Item[], limit: number): Item[] {
  return items.sort((left, right) => right.weight - left.weight).slice(0, limit);
}

function describe(connection: Tracked, now: number): LiveConnection {
  const { start, openedAt, fromClient, fromServer, earlier } = connection;
  return {
    start,
    seconds: (now - openedAt) / 1000,
    bytesFromClient: fromClient,
    bytesFromServer: fromServer,
    bytesPerSecondFromClient: rate(connection, fromClient - earlier.fromClient, now),
    bytesPerSecondFromServer: rate(connection, fromServer - earlier.fromServer, now),
  };
}
