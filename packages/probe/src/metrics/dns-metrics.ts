import type { Workload } from '@kmesh/api';
import { trafficLabels } from '../labels/connection-labels.ts';
import { trafficLabelNames } from '../labels/label-sets.ts';
import { workloadSubject } from './presence.ts';
import { add, type MetricRecorder, type MetricRow, observe } from './recorder.ts';
import { allFamilies, dnsDurationBounds, familyOffset, metricTables, type TableName } from './tables.ts';

interface DnsQuestion {
  /** `A`, `AAAA`…; exposed in lower case. */
  readonly queryType: string;
  /** `udp` or `tcp`. */
  readonly protocol: string;
  /** The pod that sends the query. Must be the same object for all its queries: it is the key of the pod's counters. */
  readonly source: DnsClient | undefined;
}

/** Labels of a pod that sends queries. */
type DnsClient = Pick<Workload, 'namespace' | 'workloadName' | 'canonicalName' | 'canonicalRevision'>;

/** The DNS families of ambient contract 15.3, for the thread that answers DNS. */
export interface DnsMetrics {
  /** Counts a received query. */
  request(question: DnsQuestion): void;
  /** Counts a forwarded query; call when upstream has answered or failed. */
  upstream(question: DnsQuestion, seconds: number, failed: boolean): void;
  /** Counts a hostname resolved on demand for a connection. */
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
  const rowOf = (table: TableName) => (question: DnsQuestion) =>
    row(table, dnsLabels(question), question.source);
  const requests = new RememberedRows(recorder, rowOf('dns'));
  const upstream = new RememberedRows(recorder, rowOf('dnsUpstream'));
  return {
    request: (question) => add(requests.row(question), 0, 1),
    upstream(question, seconds, failed) {
      const counted = upstream.row(question);
      add(counted, upstreamCell.requests, 1);
      if (failed) add(counted, upstreamCell.failures, 1);
      observe(counted, dnsDurationBounds, seconds, upstreamCell.duration);
    },
    onDemand: (source, hostname) =>
      add(row('onDemandDns', [...sourceLabels(source), hostname], source), 0, 1),
  };
}

type ProtocolRows = Map<string, Map<string, MetricRow>>;

/** Cached rows by client, protocol and type, since building their labels costs more than answering a query. */
class RememberedRows {
  readonly #recorder: MetricRecorder;
  readonly #find: (question: DnsQuestion) => MetricRow;
  #clients = new WeakMap<DnsClient, ProtocolRows>();
  #generation = 0;

  constructor(recorder: MetricRecorder, find: (question: DnsQuestion) => MetricRow) {
    this.#recorder = recorder;
    this.#find = find;
  }

  row(question: DnsQuestion): MetricRow {
    const { queryType, protocol, source } = question;
    if (source === undefined) return this.#find(question);
    if (this.#generation !== this.#recorder.generation) {
      this.#clients = new WeakMap();
      this.#generation = this.#recorder.generation;
    }
    const protocols = entryOf<DnsClient, ProtocolRows>(this.#clients, source, () => new Map());
    const rows = entryOf<string, Map<string, MetricRow>>(protocols, protocol, () => new Map());
    return entryOf(rows, queryType, () => this.#find(question));
  }
}

function entryOf<Key, Value>(
  entries: { get(key: Key): Value | undefined; set(key: Key, value: Value): unknown },
  key: Key,
  make: () => Value,
): Value {
  const found = entries.get(key);
  if (found !== undefined) return found;
  const made = make();
  entries.set(key, made);
  return made;
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
