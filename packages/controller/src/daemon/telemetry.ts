import { monitorEventLoopDelay } from 'node:perf_hooks';
import {
  AccessLog,
  type ConnectionObserver,
  type ControlMetrics,
  type ControlSources,
  createConnectionObserver,
  createControlMetrics,
  createDnsMetrics,
  createLogger,
  createRevocationMetrics,
  LiveConnections,
  LogFilter,
  LogShares,
  type LogWriter,
  type LoopDelay,
  MetricRecorder,
  type Presence,
  retireDeparted,
  type ScopedLogger,
  type ScrapeServer,
  startLogThread,
  startScrapeServer,
} from '@kmesh/probe';
import type { TunnelCounters } from '@kmesh/tunnel';
import type { Config } from '../config/config.ts';
import { PodLimits } from './pod-limits.ts';

/** Log, metrics and access log of the daemon. */
export interface Telemetry {
  readonly filter: LogFilter;
  readonly logger: ScopedLogger;
  readonly metrics: ControlMetrics;
  readonly scrape: ScrapeServer;
  /** The recorder of the control thread, which counts kernel connections. */
  readonly recorder: MetricRecorder;
  readonly observer: ConnectionObserver;
  /** Open connections that were reported to the observer. */
  readonly live: LiveConnections;
  /** Pods that reached a share. */
  readonly limits: PodLimits;
  close(): Promise<void>;
}

/** The log, which starts before anything that can fail. */
export interface DaemonLog {
  readonly filter: LogFilter;
  readonly logger: ScopedLogger;
  readonly droppedLines: BigInt64Array;
  readonly writer: LogWriter;
  /** Waits until all log lines are written, at most one second. */
  close(): void;
}

/** Starts the writer thread of the log (ambient contract 2.8). */
export function startLog(config: Pick<Config, 'logFilter' | 'logFormat'>): DaemonLog {
  const filter = new LogFilter(config.logFilter);
  const { writer, dropped } = startLogThread();
  const { logFormat: format } = config;
  return {
    filter,
    logger: createLogger({ scope: 'kmesh', filter, writer, format }),
    droppedLines: dropped,
    writer,
    close: () => writer.flushSync(1_000),
  };
}

/** Inputs of the metrics. */
interface TelemetryInputs {
  readonly sources: ControlSources;
  /** Reports which workloads are in the mesh; series of other workloads are retired. */
  readonly presence: Presence;
  /** Updates the metrics; called before each scrape. */
  readonly beforeScrape: () => void;
}

/** The scrape thread, which starts in parallel with the kernel path; the metrics need both. */
export interface Scrape {
  readonly server: ScrapeServer;
  /** Sets the source of the control thread's metrics. */
  collectFrom(collect: () => Promise<string>): void;
}

/**
 * Starts the scrape thread.
 *
 * @throws KMESH_SCRAPE_LISTEN when the port is taken.
 */
export async function startScrape(config: Config, log: DaemonLog): Promise<Scrape> {
  let collect = (): Promise<string> => Promise.resolve('');
  const server = await startScrapeServer({
    host: config.ipv6Enabled ? '::' : '0.0.0.0',
    port: config.statsPort,
    collect: () => collect(),
    droppedLines: log.droppedLines,
  });
  return {
    server,
    collectFrom: (source) => {
      collect = source;
    },
  };
}

/** Starts the metrics of the control thread and its recorder. Closing them closes the scrape thread. */
export function startTelemetry(
  config: Config,
  log: DaemonLog,
  { server: scrape, collectFrom }: Scrape,
  { sources, presence, beforeScrape }: TelemetryInputs,
): Telemetry {
  const metrics = createControlMetrics(config.istioVersion, sources);
  collectFrom(() => {
    beforeScrape();
    return metrics.collect();
  });
  const recorder = new MetricRecorder(scrape.recorderChannel());
  const stopRetiring = retireDeparted(recorder, presence);
  const limits = new PodLimits(log.logger.child('limits'), metrics);
  const shares = new LogShares({
    linesPerSecond: config.podLogLines,
    onSuppressed: (pod, lines) => limits.linesSuppressed(pod, lines),
    onEpisode: (pod, suppressed) => limits.logEpisode(pod, suppressed),
  });
  const { filter, writer } = log;
  const accessLog = new AccessLog({ filter, writer, format: config.logFormat, shares });
  const share = { perPod: config.podSeries, onOverflow: limits.seriesOverflowed.bind(limits) };
  const live = new LiveConnections(createConnectionObserver({ recorder, accessLog, share }));
  return {
    filter: log.filter,
    logger: log.logger,
    metrics,
    scrape,
    recorder,
    observer: live,
    live,
    limits,
    close: () => {
      shares.close();
      stopRetiring();
      return scrape.close();
    },
  };
}

/**
 * Returns the tunnel's counters of other events than connections: revocations, names resolved on demand (ambient
 * contract 15.3), failed accepts and refusals.
 */
export function tunnelCounters(
  recorder: MetricRecorder,
  metrics: ControlMetrics,
  limits: PodLimits,
): TunnelCounters {
  const revocations = createRevocationMetrics(recorder);
  const dns = createDnsMetrics(recorder);
  return {
    revocationRejected: (reporter) => revocations.rejected(reporter),
    revocationUntracked: (reporter) => revocations.untracked(reporter),
    onDemandDns: (source, hostname) => dns.onDemand(source, hostname),
    acceptFailed: () => metrics.acceptFailed(),
    shareExceeded: (pod) => limits.connectionRefused(pod),
  };
}

/** Measures the event loop delay of this thread, once per iteration, so that a sleeping thread is not woken. */
interface LoopDelayMeter {
  /** Returns the delays since the last call. */
  read(): LoopDelay;
  close(): void;
}

const nanosecondsPerSecond = 1e9;

/** Starts measuring. */
export function measureLoopDelay(): LoopDelayMeter {
  const histogram = monitorEventLoopDelay({ samplePerIteration: true });
  histogram.enable();
  return {
    read: () => {
      // There are no percentiles before the first sample.
      const measured = histogram.count > 0;
      const delay = {
        median: measured ? histogram.percentile(50) / nanosecondsPerSecond : 0,
        p99: measured ? histogram.percentile(99) / nanosecondsPerSecond : 0,
        longest: measured ? histogram.max / nanosecondsPerSecond : 0,
      };
      histogram.reset();
      return delay;
    },
    close: () => {
      histogram.disable();
    },
  };
}
