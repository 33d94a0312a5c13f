export {
  type ConnectionEnd,
  type ConnectionObserver,
  type ConnectionStart,
  type EarlyDeny,
  type ObservedConnection,
  type Reporter,
  type ResponseFlag,
  silentObserver,
} from './connection.ts';
export { KernelConnections } from './events/kernel-connections.ts';
export type { KernelEventResolver } from './events/kernel-event-resolver.ts';
export { createKernelResolver } from './events/kernel-resolver.ts';
export { LiveFlowReports } from './events/live-flow-reports.ts';
export { serviceLabels, trafficLabels, workloadLabels } from './labels/connection-labels.ts';
export { serviceLabelNames, trafficLabelNames, workloadLabelNames } from './labels/label-sets.ts';
export { type LiveConnection, LiveConnections } from './live-connections.ts';
export { AccessLog } from './log/access-log.ts';
export { logTime } from './log/clock.ts';
export type { LogFormat } from './log/line-format.ts';
export { LogFilter, parseLogFilter } from './log/log-filter.ts';
export { type LogThread, startLogThread } from './log/log-thread.ts';
export {
  createLogWriter,
  directLogWriter,
  type LogWriter,
  overflowLines,
  queueLines,
} from './log/log-writer.ts';
export { createLogger, type ScopedLogger } from './log/logger.ts';
export {
  type ControlMetrics,
  type ControlSources,
  createControlMetrics,
  type HookCost,
  type LoopDelay,
} from './metrics/control-metrics.ts';
export { createDnsMetrics } from './metrics/dns-metrics.ts';
export { createSeriesBudget } from './metrics/messages.ts';
export { WorkloadPresence } from './metrics/presence.ts';
export {
  MetricRecorder,
  type Presence,
  type RecorderChannel,
  retireAfterMilliseconds,
  retireDeparted,
} from './metrics/recorder.ts';
export { renderStore } from './metrics/render.ts';
export { createRevocationMetrics } from './metrics/revocation-metrics.ts';
export { MetricStore } from './metrics/store.ts';
export { countConnectionPath, createConnectionObserver } from './observer.ts';
export { contentEncoding, contentType } from './scrape/negotiate.ts';
export { type ScrapeServer, type ScrapeServerOptions, startScrapeServer } from './scrape/scrape-server.ts';
