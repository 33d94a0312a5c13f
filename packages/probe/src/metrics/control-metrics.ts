import type { HookCost } from '@kmesh/api';
import { Counter, Gauge, type Registry } from 'prom-client';
import type { AddressedService } from '../connection.ts';
import { routeLabels } from '../labels/connection-labels.ts';
import { routeLabelNames } from '../labels/label-sets.ts';
import { createOpenMetricsRegistry, registryText } from './registry-text.ts';

/** Why an xDS stream ended (ambient contract 15.3). */
type XdsTermination = 'ConnectionError' | 'Error' | 'Reconnect' | 'Complete';

/** Usage of a kernel table. */
interface TableUsage {
  readonly table: string;
  readonly entries: number;
  readonly maximum: number;
  /** Entries refused since the start, by reason; their traffic takes the tunnel path. */
  readonly refused?: Readonly<Record<string, number>>;
}

/** Number of decisions of the connect hook by path and reason; cumulative. */
interface ConnectDecision {
  readonly path: string;
  readonly reason: string;
  readonly connections: number;
}

/** State of one route. */
interface RouteReport {
  readonly route: string;
  readonly shares: readonly {
    readonly service: AddressedService;
    readonly port: number;
    readonly backend: string;
    /** 0 to 1. */
    readonly share: number;
  }[];
  /** Why the route is not applied, or only partially. */
  readonly problems: readonly string[];
}

/** Delays of the control thread's event loop since the previous reading, in seconds. */
export interface LoopDelay {
  readonly median: number;
  readonly p99: number;
  readonly longest: number;
}

/** Sources read at each scrape; every number is cumulative or a current state. Absent: the daemon lacks that part. */
export interface ControlSources {
  readonly tables?: () => readonly TableUsage[];
  readonly hooks?: () => readonly HookCost[];
  readonly decisions?: () => readonly ConnectDecision[];
  /** Kernel events lost because the ring was full. */
  readonly eventsLost?: () => number;
  /** Connections whose events were lost and that were recovered from the flow table. */
  readonly connectionsReconciled?: () => number;
  /** Connects refused by the hook without a log line because of the rate limit. */
  readonly refusalsUnreported?: () => number;
  readonly loopDelay?: () => LoopDelay;
  readonly routes?: () => readonly RouteReport[];
}

export interface ControlMetrics {
  /** prom-client's registry; more metrics of the control thread may be added. */
  readonly registry: Registry;
  xdsMessage(typeUrl: string, bytes: number): void;
  xdsTerminated(reason: XdsTermination): void;
  proxies(active: number, pending: number): void;
  proxyStarted(): void;
  proxyStopped(): void;
  /** Counts that new connections had to wait at a listener. */
  acceptFailed(): void;
  /** Counts a connection refused because its pod's share of the descriptors is used up. */
  shareExceeded(namespace: string, pod: string): void;
  /** Counts lines of a pod that were suppressed in the access log. */
  linesSuppressed(namespace: string, pod: string, lines: number): void;
  /** Counts label sets beyond a pod's share, which count under `other`. */
  seriesOverflowed(namespace: string, pod: string): void;
  /** Returns the exposition without an end marker; pass it to `startScrapeServer` as `collect`. */
  collect(): Promise<string>;
}

/**
 * Creates the metric families of the control thread (ambient contract 15.3).
 *
 * @param tag Istio's version, the `tag` of `istio_build`
 */
export function createControlMetrics(tag: string, sources: ControlSources = {}): ControlMetrics {
  const registry = createOpenMetricsRegistry();
  const registers = [registry];
  const build = new Gauge({
    name: 'istio_build',
    help: 'Istio component build info',
    labelNames: ['component', 'tag'],
    registers,
  });
  build.set({ component: 'ztunnel', tag }, 1);

  const terminations = new Counter({
    name: 'istio_xds_connection_terminations_total',
    help: 'Ends of the connection to the control plane (unstable)',
    labelNames: ['reason'],
    registers,
  });
  const messages = new Counter({
    name: 'istio_xds_message_total',
    help: 'Messages received from the control plane (unstable)',
    labelNames: ['url'],
    registers,
  });
  const messageBytes = new Counter({
    name: 'istio_xds_message_bytes_total',
    help: 'Payload bytes received from the control plane (unstable)',
    labelNames: ['url'],
    registers,
  });
  const active = new Gauge({
    name: 'workload_manager_active_proxy_count',
    help: 'Pods that are served (unstable)',
    registers,
  });
  const pending = new Gauge({
    name: 'workload_manager_pending_proxy_count',
    help: 'Pods waiting to be served (unstable)',
    registers,
  });
  const started = new Counter({
    name: 'workload_manager_proxies_started_total',
    help: 'Pods whose proxy started (unstable)',
    registers,
  });
  const stopped = new Counter({
    name: 'workload_manager_proxies_stopped_total',
    help: 'Pods whose proxy stopped (unstable)',
    registers,
  });
  const acceptFailures = new Counter({
    name: 'kmesh_accept_failures_total',
    help: 'Times that new connections had to wait, mostly for lack of file descriptors (unstable)',
    registers,
  });
  const shareExceeded = new Counter({
    name: 'kmesh_pod_share_refusals_total',
    help: 'Connections refused because their pod holds its share of the file descriptors (unstable)',
    labelNames: ['namespace', 'pod'],
    registers,
  });
  const suppressed = new Counter({
    name: 'kmesh_pod_log_lines_suppressed_total',
    help: 'Access log lines left out because their pod writes more than its share (unstable)',
    labelNames: ['namespace', 'pod'],
    registers,
  });
  const overflowed = new Counter({
    name: 'kmesh_pod_series_overflow_total',
    help: 'Times that a pod had its share of the series, and a connection counted under "other" (unstable)',
    labelNames: ['namespace', 'pod'],
    registers,
  });
  addKernelMetrics(registry, sources);
  if (sources.routes) addRouteMetrics(registry, sources.routes);
  if (sources.loopDelay) addLoopDelay(registry, sources.loopDelay);

  return {
    registry,
    xdsMessage(url, bytes) {
      messages.inc({ url });
      messageBytes.inc({ url }, bytes);
    },
    xdsTerminated: (reason) => terminations.inc({ reason }),
    proxies(activeCount, pendingCount) {
      active.set(activeCount);
      pending.set(pendingCount);
    },
    proxyStarted: () => started.inc(),
    proxyStopped: () => stopped.inc(),
    acceptFailed: () => acceptFailures.inc(),
    shareExceeded: (namespace, pod) => shareExceeded.inc({ namespace, pod }),
    linesSuppressed: (namespace, pod, lines) => suppressed.inc({ namespace, pod }, lines),
    seriesOverflowed: (namespace, pod) => overflowed.inc({ namespace, pod }),
    collect: () => registryText(registry),
  };
}

function addRouteMetrics(registry: Registry, read: () => readonly RouteReport[]): void {
  const registers = [registry];
  new Gauge({
    name: 'kmesh_route_share',
    help: 'Share of the connections to a service port that a route wants a backend to have, 0 to 1 (unstable)',
    labelNames: [...routeLabelNames],
    registers,
    collect() {
      this.reset();
      problems.reset();
      for (const { route, shares, problems: reasons } of read()) {
        for (const { share, ...one } of shares) {
          const values = routeLabels({ route, ...one });
          this.inc(
            Object.fromEntries(routeLabelNames.map((name, index) => [name, values[index] ?? ''])),
            share,
          );
        }
        for (const reason of reasons) problems.inc({ route, reason });
      }
    },
  });
  // Collected after the shares, whose collection fills it.
  const problems = new Gauge({
    name: 'kmesh_route_problems',
    help: 'Why a route is not applied, or not everywhere: how often (unstable)',
    labelNames: ['route', 'reason'],
    registers,
  });
}

function addLoopDelay(registry: Registry, read: () => LoopDelay): void {
  new Gauge({
    name: 'kmesh_event_loop_delay_seconds',
    help: 'Duration of turns of the control thread since the previous scrape; quantile 1 is the longest (unstable)',
    labelNames: ['quantile'],
    registers: [registry],
    collect() {
      const { median, p99, longest } = read();
      this.set({ quantile: '0.5' }, median);
      this.set({ quantile: '0.99' }, p99);
      this.set({ quantile: '1' }, longest);
    },
  });
}

function addKernelMetrics(registry: Registry, sources: ControlSources): void {
  const registers = [registry];
  const { tables, hooks, decisions, eventsLost, connectionsReconciled, refusalsUnreported } = sources;
  if (tables) {
    const maximum = new Gauge({
      name: 'kmesh_table_maximum_entries',
      help: 'Entries that a kernel table can hold (unstable)',
      labelNames: ['table'],
      registers,
    });
    new Gauge({
      name: 'kmesh_table_entries',
      help: 'Entries in a kernel table (unstable)',
      labelNames: ['table'],
      registers,
      collect() {
        for (const usage of tables()) {
          this.set({ table: usage.table }, usage.entries);
          maximum.set({ table: usage.table }, usage.maximum);
        }
      },
    });
  }
  if (tables) {
    cumulativeFamily(
      registry,
      'kmesh_table_refusals_total',
      'Entries that a kernel table refused (unstable)',
      ['table', 'reason'],
      () =>
        tables().flatMap(({ table, refused }) =>
          Object.entries(refused ?? {}).map(([reason, count]) => [[table, reason], count] as const),
        ),
    );
  }
  if (decisions) {
    cumulativeFamily(
      registry,
      'kmesh_connect_decisions_total',
      'What the connect hook decided for connections of enrolled pods, and why (unstable)',
      ['path', 'reason'],
      () => decisions().map(({ path, reason, connections }) => [[path, reason], connections] as const),
    );
  }
  if (hooks) {
    perProgram(
      registry,
      hooks,
      'kmesh_hook_runs_total',
      'Runs of a kernel program (unstable)',
      ({ runs }) => runs,
    );
    perProgram(
      registry,
      hooks,
      'kmesh_hook_seconds_total',
      'Time spent in a kernel program (unstable)',
      ({ nanoseconds }) => nanoseconds / 1_000_000_000,
    );
  }
  if (eventsLost) {
    addCumulativeCounter(
      registry,
      'kmesh_ring_events_lost_total',
      'Kernel events lost because the ring was full (unstable)',
      eventsLost,
    );
  }
  if (connectionsReconciled) {
    addCumulativeCounter(
      registry,
      'kmesh_connections_reconciled_total',
      'Connections counted from the flow table because an event was lost (unstable)',
      connectionsReconciled,
    );
  }
  if (refusalsUnreported) {
    addCumulativeCounter(
      registry,
      'kmesh_refusals_unlogged_total',
      'Connections that the kernel path refused without a log line, too many at once (unstable)',
      refusalsUnreported,
    );
  }
}

function perProgram(
  registry: Registry,
  hooks: () => readonly HookCost[],
  name: string,
  help: string,
  value: (cost: HookCost) => number,
): void {
  const read = () => hooks().map((cost) => [[cost.program], value(cost)] as const);
  cumulativeFamily(registry, name, help, ['program'], read);
}

/** Creates a family of counters whose values are kept elsewhere and read at each scrape. */
function cumulativeFamily(
  registry: Registry,
  name: string,
  help: string,
  labelNames: readonly string[],
  read: () => readonly (readonly [labels: readonly string[], value: number])[],
): void {
  const followers = new Map<string, (value: number) => void>();
  const counter = new Counter({
    name,
    help,
    labelNames: [...labelNames],
    registers: [registry],
    collect() {
      for (const [values, value] of read()) {
        const key = values.join('\n');
        let follow = followers.get(key);
        if (follow === undefined) {
          const labels = Object.fromEntries(labelNames.map((label, index) => [label, values[index] ?? '']));
          follow = follower((by) => counter.inc(labels, by));
          followers.set(key, follow);
        }
        follow(value);
      }
    },
  });
}

/** Adds a prom-client counter whose value is kept elsewhere and read at each scrape. */
export function addCumulativeCounter(
  registry: Registry,
  name: string,
  help: string,
  read: () => number,
): void {
  const counter: Counter = new Counter({
    name,
    help,
    registers: [registry],
    collect: () => advance(read()),
  });
  const advance = follower((by) => counter.inc(by));
}

/**
 * Turns readings of a cumulative value into increases. A reading below the last one means that the source restarted
 * (a program loaded again): earlier counts are kept.
 */
function follower(increase: (by: number) => void): (value: number) => void {
  let seen = 0;
  return (value) => {
    increase(value >= seen ? value - seen : value);
    seen = value;
  };
}
