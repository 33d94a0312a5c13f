export {
  type AddressedService,
  type ConnectionEnd,
  type ConnectionObserver,
  type ConnectionStart,
  type CountedBytes,
  type EarlyDeny,
  type ObservedConnection,
  type Reporter,
  type ResponseFlag,
  type RoutedConnection,
  silentObserver,
  type TransportMeasure,
} from './connection.ts';
export { type LiveConnection, LiveConnections } from './live-connections.ts';
export { AccessLog } from './log/access-log.ts';
export { logTime } from './log/line-format.ts';
export { LogFilter } from './log/log-filter.ts';
export { type LogOwner, LogShares } from './log/log-shares.ts';
export type { LogWriter } from './log/log-writer.ts';
export { type LogThread, startLogThread } from './log/log-writer.ts';
export { createLogger, type ScopedLogger } from './log/logger.ts';
export {
  type ControlMetrics,
  type ControlSources,
  createControlMetrics,
  type LoopDelay,
} from './metrics/control-metrics.ts';
export { createDnsMetrics, type DnsMetrics } from './metrics/dns-metrics.ts';
export { createSeriesBudget } from './metrics/messages.ts';
export { WorkloadPresence } from './metrics/presence.ts';
export { MetricRecorder, type Presence, type RecorderChannel, retireDeparted } from './metrics/recorder.ts';
export { renderStore } from './metrics/render.ts';
export { createRevocationMetrics } from './metrics/revocation-metrics.ts';
export { MetricStore } from './metrics/store.ts';
export { countConnectionPath, createConnectionObserver } from './observer.ts';
export { limitConnections, oneAtATime } from './scrape/limits.ts';
export { type ScrapeServer, startScrapeServer } from './scrape/scrape-server.ts';
