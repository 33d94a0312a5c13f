import {
  type ControlMetrics,
  createDnsMetrics,
  createRevocationMetrics,
  type MetricRecorder,
} from '@kmesh/probe';
import type { TunnelCounters } from '@kmesh/tunnel';

/** Where the tunnel counts what is no connection: revocations, names resolved on demand (ambient contract 15.3), waits. */
export function tunnelCounters(recorder: MetricRecorder, metrics: ControlMetrics): TunnelCounters {
  const revocations = createRevocationMetrics(recorder);
  const dns = createDnsMetrics(recorder);
  return {
    revocationRejected: (reporter) => revocations.rejected(reporter),
    revocationUntracked: (reporter) => revocations.untracked(reporter),
    onDemandDns: (source, hostname) => dns.onDemand(source, hostname),
    acceptFailed: () => metrics.acceptFailed(),
    shareExceeded: ({ namespace, name }) => metrics.shareExceeded(namespace, name),
  };
}
