import {
  type ControlMetrics,
  createDnsMetrics,
  createRevocationMetrics,
  type MetricRecorder,
} from '@kmesh/probe';
import type { TunnelCounters } from '@kmesh/tunnel';
import type { PodLimits } from './pod-limits.ts';

/** Where the tunnel counts what is no connection: revocations, names resolved on demand (ambient contract 15.3), waits. */
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
