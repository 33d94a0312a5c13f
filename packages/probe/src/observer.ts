import { performance } from 'node:perf_hooks';
import type {
  ConnectionEnd,
  ConnectionObserver,
  ConnectionPath,
  ConnectionStart,
  ObservedConnection,
  Reporter,
  RoutedConnection,
  TransportMeasure,
} from './connection.ts';
import { routeLabels } from './labels/connection-labels.ts';
import type { AccessLog } from './log/access-log.ts';
import {
  ConnectionRowCache,
  type ConnectionRows,
  cell,
  type SeriesShare,
} from './metrics/connection-rows.ts';
import { add, type MetricRecorder, type MetricRow, observe } from './metrics/recorder.ts';
import { allFamilies, metricTables, roundTripBounds } from './metrics/tables.ts';

/** Cached, because reading it costs more than reading the clock. */
const { timeOrigin } = performance;

interface ConnectionObserverOptions {
  readonly recorder: MetricRecorder;
  /** Absent: connections are counted but not logged. */
  readonly accessLog?: AccessLog;
  /** Limit on the series of each pod; absent: only the total is limited. */
  readonly share?: SeriesShare;
}

/** Creates the observer of one thread: counts into its recorder and writes the access log. */
export function createConnectionObserver(options: ConnectionObserverOptions): ConnectionObserver {
  const { recorder, accessLog } = options;
  const context: Context = {
    recorder,
    accessLog,
    cache: new ConnectionRowCache(recorder, options.share),
    paths: { kernel: new Map(), tunnel: new Map() },
    routes: new Map(),
  };
  const sockets = {
    source: recorder.row('sockets', ['source'], 1),
    destination: recorder.row('sockets', ['destination'], 1),
  };
  return {
    opened(start) {
      if (start.earlier === undefined) announce(context, start);
      return new RecordedConnection(context, start);
    },
    passed(start, end) {
      const { bytesFromClient, bytesFromServer, durationMilliseconds, transport } = end;
      if (
        start.earlier !== undefined ||
        bytesFromClient === undefined ||
        bytesFromServer === undefined ||
        durationMilliseconds === undefined
      ) {
        this.opened(start).close(end);
        return;
      }
      announce(context, start);
      const rows = context.cache.open(start);
      addToAll(rows, cell.opened, 1);
      if (bytesFromClient > 0) addToAll(rows, cell.received, bytesFromClient);
      if (bytesFromServer > 0) addToAll(rows, cell.sent, bytesFromServer);
      const retransmissions = transport?.retransmissions ?? 0;
      if (retransmissions > 0) add(rows.workload, cell.retransmissions, retransmissions);
      countEnd(context, start, rows, end);
      accessLog?.closed(start, end, { bytesFromClient, bytesFromServer, durationMilliseconds });
    },
    earlyDeny: (deny) => {
      if (deny.routed !== undefined) add(countRoute(context, deny.routed), routeCell.refused, 1);
      accessLog?.earlyDeny(deny);
    },
    socketsOpen(reporter: Reporter, change: 1 | -1) {
      const row = sockets[reporter];
      add(row, 0, change);
    },
  };
}

interface Context {
  readonly recorder: MetricRecorder;
  readonly accessLog: AccessLog | undefined;
  readonly cache: ConnectionRowCache;
  readonly paths: Readonly<Record<ConnectionPath, Map<string, MetricRow>>>;
  readonly routes: Map<string, MetricRow>;
}

/** A recorded connection, from the opened count to the closed one. */
class RecordedConnection implements ObservedConnection {
  readonly #context: Context;
  readonly #startedAt: number;
  #start: ConnectionStart;
  #rows: ConnectionRows;
  #fromClient = 0;
  #fromServer = 0;
  #retransmissions = 0;
  #closed = false;

  constructor(context: Context, start: ConnectionStart) {
    this.#context = context;
    this.#start = start;
    this.#startedAt = start.startedAt ?? 0;
    if (this.#startedAt === 0) this.#startedAt = timeOrigin + performance.now();
    this.#rows = context.cache.open(start);
    hold(this.#rows, 1);
    const { earlier } = start;
    if (earlier === undefined) {
      addToAll(this.#rows, cell.opened, 1);
    } else {
      this.#fromClient = earlier.fromClient;
      this.#fromServer = earlier.fromServer;
    }
  }

  progress(bytesFromClient: number, bytesFromServer: number, transport?: TransportMeasure): void {
    if (this.#closed) return;
    if (bytesFromClient > this.#fromClient) {
      addToAll(this.#rows, cell.received, bytesFromClient - this.#fromClient);
      this.#fromClient = bytesFromClient;
    }
    if (bytesFromServer > this.#fromServer) {
      addToAll(this.#rows, cell.sent, bytesFromServer - this.#fromServer);
      this.#fromServer = bytesFromServer;
    }
    if (transport !== undefined && transport.retransmissions > this.#retransmissions) {
      add(this.#rows.workload, cell.retransmissions, transport.retransmissions - this.#retransmissions);
      this.#retransmissions = transport.retransmissions;
    }
  }

  relabel(change: Partial<Pick<ConnectionStart, 'derivedDestination' | 'destinationIdentity'>>): void {
    if (this.#closed) return;
    this.#start = { ...this.#start, ...change };
    hold(this.#rows, -1);
    this.#rows = this.#context.cache.open(this.#start);
    hold(this.#rows, 1);
  }

  close(end: ConnectionEnd): void {
    if (this.#closed) return;
    this.progress(end.bytesFromClient ?? 0, end.bytesFromServer ?? 0, end.transport);
    this.#closed = true;
    hold(this.#rows, -1);
    if (end.continued) return;
    countEnd(this.#context, this.#start, this.#rows, end);
    this.#context.accessLog?.closed(this.#start, end, {
      bytesFromClient: this.#fromClient,
      bytesFromServer: this.#fromServer,
      durationMilliseconds:
        end.durationMilliseconds ?? Math.max(0, timeOrigin + performance.now() - this.#startedAt),
    });
  }
}

/**
 * Counts connections in `kmesh_connections_path_total` that no observer is told about.
 *
 * @param reason a short word from a bounded set
 */
export function countConnectionPath(
  recorder: MetricRecorder,
  path: ConnectionPath | 'refused',
  reason: string,
  count: number,
): void {
  add(recorder.row('paths', [path, reason], 1), 0, count);
}

/** Logs and counts details of an opened connection besides the metrics of its two ends. */
function announce(context: Context, start: ConnectionStart): void {
  countPath(context, start);
  if (start.routed !== undefined) countRoute(context, start.routed);
  context.accessLog?.opened(start);
}

function countEnd(context: Context, start: ConnectionStart, rows: ConnectionRows, end: ConnectionEnd): void {
  if (end.flag === '-') {
    addToAll(rows, cell.closed, 1);
  } else {
    const failed = context.cache.failed(start, end.flag);
    addToAll(failed, cell.closed, 1);
    addToAll(failed, cell.failed, 1);
  }
  const roundTrip = end.transport?.smoothedRoundTripMicroseconds ?? 0;
  if (roundTrip > 0) {
    observe(context.cache.roundTrip(start, rows), roundTripBounds, roundTrip / 1_000_000);
  }
}

function countPath({ recorder, paths }: Context, { path, pathReason, reporter }: ConnectionStart): void {
  if (reporter === 'destination' && pathReason === undefined) return;
  const reason = pathReason ?? path;
  let row = paths[path].get(reason);
  if (row === undefined) {
    row = recorder.row('paths', [path, reason], 1);
    paths[path].set(reason, row);
  }
  add(row, 0, 1);
}

/** Cells of the route table. */
const routeCell = { given: 0, refused: 1 } as const;

function countRoute({ recorder, routes }: Context, routed: RoutedConnection): MetricRow {
  const labels = routeLabels(routed);
  const key = labels.join('\n');
  let row = routes.get(key);
  if (row === undefined) {
    row = recorder.row('routes', labels, allFamilies(metricTables.routes));
    routes.set(key, row);
  }
  add(row, routeCell.given, 1);
  return row;
}

function addToAll(rows: ConnectionRows, index: number, count: number): void {
  add(rows.traffic, index, count);
  add(rows.workload, index, count);
  add(rows.service, index, count);
}

function hold(rows: ConnectionRows, change: 1 | -1): void {
  rows.traffic.open += change;
  rows.workload.open += change;
  rows.service.open += change;
}
