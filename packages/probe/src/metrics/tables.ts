import {
  roundTripLabelNames,
  routeLabelNames,
  serviceLabelNames,
  trafficLabelNames,
  workloadLabelNames,
} from '../labels/label-sets.ts';

/**
 * One metric family. `name` has no `_total`: the exposition adds it to the samples of counters.
 * Families outside the contract's stable list have "unstable" in their help (ambient contract 15.1).
 */
export interface MetricFamily {
  readonly name: string;
  readonly kind: 'counter' | 'gauge' | 'histogram';
  readonly help: string;
  /** Upper bounds of a histogram's buckets, ascending, without +Inf. */
  readonly bounds?: readonly number[];
}

/** Families with a common label set: one label set is one row, whose cells are the families' values. */
export interface MetricTable {
  readonly labels: readonly string[];
  readonly families: readonly MetricFamily[];
}

/** One bit per family of a table: the families that a row has. */
export type FamilyMask = number;

/** Seconds; a veth round trip takes tens of microseconds, one to another continent a quarter second. */
export const roundTripBounds = [
  0.000025, 0.00005, 0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1,
] as const;

/** Seconds (ambient contract 15.3). */
export const dnsDurationBounds = [0.0005, 0.001, 0.01, 0.1, 1, 5] as const;

function counter(name: string, help: string): MetricFamily {
  return { name, kind: 'counter', help };
}

const dnsLabels = [
  'request_query_type',
  'request_protocol',
  'source_canonical_service',
  'source_canonical_revision',
];

/** Every family that data threads and the kernel path record, in the order of the exposition. */
export const metricTables = {
  traffic: {
    labels: trafficLabelNames,
    families: [
      counter('istio_tcp_connections_opened', 'TCP connections opened'),
      counter('istio_tcp_connections_closed', 'TCP connections closed'),
      counter('istio_tcp_received_bytes', 'Bytes that clients sent to servers'),
      counter('istio_tcp_sent_bytes', 'Bytes that servers sent to clients'),
      counter('istio_tcp_connections_failed', 'TCP connections that failed (unstable)'),
    ],
  },
  workload: {
    labels: workloadLabelNames,
    families: [
      counter('kmesh_tcp_workload_connections_opened', 'Connections opened to a workload (unstable)'),
      counter('kmesh_tcp_workload_connections_closed', 'Connections to a workload closed (unstable)'),
      counter('kmesh_tcp_workload_received_bytes', 'Bytes that clients sent to a workload (unstable)'),
      counter('kmesh_tcp_workload_sent_bytes', 'Bytes that a workload sent to clients (unstable)'),
      counter('kmesh_tcp_workload_connections_failed', 'Connections to a workload that failed (unstable)'),
      counter('kmesh_tcp_retransmissions', 'TCP segments retransmitted (unstable)'),
    ],
  },
  service: {
    labels: serviceLabelNames,
    families: [
      counter('kmesh_tcp_connections_opened', 'Connections opened to a service (unstable)'),
      counter('kmesh_tcp_connections_closed', 'Connections to a service closed (unstable)'),
      counter('kmesh_tcp_received_bytes', 'Bytes that clients sent to a service (unstable)'),
      counter('kmesh_tcp_sent_bytes', 'Bytes that a service sent to clients (unstable)'),
      counter('kmesh_tcp_connections_failed', 'Connections to a service that failed (unstable)'),
    ],
  },
  roundTrip: {
    labels: roundTripLabelNames,
    families: [
      {
        name: 'kmesh_tcp_round_trip_seconds',
        kind: 'histogram',
        help: 'Smoothed round-trip time of connections when they close (unstable)',
        bounds: roundTripBounds,
      },
    ],
  },
  sockets: {
    labels: ['reporter'],
    families: [{ name: 'istio_tcp_sockets_open', kind: 'gauge', help: 'Accepted sockets open (unstable)' }],
  },
  paths: {
    labels: ['path', 'reason'],
    families: [counter('kmesh_connections_path', 'Connections by the path that carried them (unstable)')],
  },
  routes: {
    labels: routeLabelNames,
    families: [
      counter('kmesh_route_connections', 'Connections that a route gave to a backend (unstable)'),
      counter(
        'kmesh_route_refusals',
        'Connections that a route gave to a backend and that were refused: it cannot serve (unstable)',
      ),
    ],
  },
  dns: {
    labels: dnsLabels,
    families: [counter('istio_dns_requests', 'DNS queries received (unstable)')],
  },
  dnsUpstream: {
    labels: dnsLabels,
    families: [
      counter('istio_dns_upstream_requests', 'DNS queries forwarded upstream (unstable)'),
      counter('istio_dns_upstream_failures', 'DNS queries that upstream failed (unstable)'),
      {
        name: 'istio_dns_upstream_request_duration_seconds',
        kind: 'histogram',
        help: 'Time until upstream answered a DNS query (unstable)',
        bounds: dnsDurationBounds,
      },
    ],
  },
  onDemandDns: {
    labels: [...trafficLabelNames.slice(1, 9), 'hostname'],
    families: [counter('istio_on_demand_dns', 'Hostnames resolved on demand (unstable)')],
  },
  revocation: {
    labels: ['reporter'],
    families: [
      counter('istio_crl_policy_rejections', 'Connections refused for a revoked certificate (unstable)'),
      counter('istio_crl_untracked_connections', 'Connections that revocation cannot cut (unstable)'),
    ],
  },
} as const satisfies Record<string, MetricTable>;

export type TableName = keyof typeof metricTables;

/** Returns the cells of a family in a row: a histogram has one per bucket (+Inf included) and one for the sum. */
function familyWidth(family: MetricFamily): number {
  return family.kind === 'histogram' ? (family.bounds?.length ?? 0) + 2 : 1;
}

/** Returns the cells of one row of a table. */
export function rowWidth(table: MetricTable): number {
  return table.families.reduce((width, family) => width + familyWidth(family), 0);
}

/** Returns the first cell of a family in its row. */
export function familyOffset(table: MetricTable, familyIndex: number): number {
  return table.families.slice(0, familyIndex).reduce((width, family) => width + familyWidth(family), 0);
}

/** Returns the exposition lines of a row with `mask`, as counted by the cap on series. */
export function seriesOf(table: MetricTable, mask: FamilyMask): number {
  let lines = 0;
  table.families.forEach((family, index) => {
    if ((mask & (1 << index)) === 0) return;
    lines += family.kind === 'histogram' ? (family.bounds?.length ?? 0) + 3 : 1;
  });
  return lines;
}

/** Returns the mask of every family of a table. */
export function allFamilies(table: MetricTable): FamilyMask {
  return (1 << table.families.length) - 1;
}
