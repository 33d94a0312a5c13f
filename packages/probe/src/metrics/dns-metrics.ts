import type { Workload } from '@kmesh/api';
import { trafficLabels } from '../labels/connection-labels.ts';
import { trafficLabelNames } from '../labels/label-sets.ts';
import { workloadSubject } from './presence.ts';
import { add, type MetricRecorder, type MetricRow, observe } from './recorder.ts';
import { allFamilies, dnsDurationBounds, familyOffset, metricTables, type TableName } from './tables.ts';

interface DnsQuestion {
  /** `A`, `AAAA`…; written in lower case. */
  readonly queryType: string;
  /** `udp` or `tcp`. */
  readonly protocol: string;
  /** The pod that asks. */
  readonly source: DnsClient | undefined;
}

/** What the metrics say of a pod that asks. */
type DnsClient = Pick<Workload, 'namespace' | 'workloadName' | 'canonicalName' | 'canonicalRevision'>;

/** The DNS families of ambient contract 15.3, for the thread that answers DNS. */
export interface DnsMetrics {
  /** A query came in. */
  request(question: DnsQuestion): void;
  /** It was forwarded; call when upstream has answered or failed. */
  upstream(question: DnsQuestion, seconds: number, failed: boolean): void;
  /** A hostname was resolved on demand for a connection. */
  onDemand(source: Workload | undefined, hostname: string): void;
}

const upstreamCell = {
  requests: 0,
  failures: 1,
  duration: familyOffset(metricTables.dnsUpstream, 2),
} as const;

export function createDnsMetrics(recorder: MetricRecorder): DnsMetrics {
  function row(table: TableName, values: readonly string[], source: DnsClient | undefined): MetricRow {
    return recorder.row(
      table,
      values,
      allFamilies(metricTables[table]),
      source ? [workloadSubject(source)] : [],
    );
  }
  return {
    request: (question) => add(row('dns', dnsLabels(question), question.source), 0, 1),
    upstream(question, seconds, failed) {
      const counted = row('dnsUpstream', dnsLabels(question), question.source);
      add(counted, upstreamCell.requests, 1);
      if (failed) add(counted, upstreamCell.failures, 1);
      observe(counted, dnsDurationBounds, seconds, upstreamCell.duration);
    },
    onDemand: (source, hostname) =>
      add(row('onDemandDns', [...sourceLabels(source), hostname], source), 0, 1),
  };
}

function dnsLabels({ queryType, protocol, source }: DnsQuestion): string[] {
  return [
    queryType.toLowerCase(),
    protocol.toLowerCase(),
    source?.canonicalName || 'unknown',
    source?.canonicalRevision || 'unknown',
  ];
}

function sourceLabels(source: Workload | undefined): readonly string[] {
  const first = trafficLabelNames.indexOf('source_workload');
  const end = trafficLabelNames.indexOf('destination_service');
  const start = {
    reporter: 'source',
    path: 'tunnel',
    sourceAddress: '',
    destinationAddress: '',
    source,
    destination: undefined,
    securityPolicy: 'unknown',
  } as const;
  return trafficLabels(start, '-').slice(first, end);
}
