import { type Dashboard, lines, number, openBy, query, rateBy } from './panel.ts';

const inbound =
  'reporter="destination",destination_workload_namespace=~"$namespace",destination_workload=~"$workload"';
const outbound = 'reporter="source",source_workload_namespace=~"$namespace",source_workload=~"$workload"';
const roundTrip =
  'sum by (le, source_workload, destination_workload) ' +
  `(rate(kmesh_tcp_round_trip_seconds_bucket{${outbound}}[$__rate_interval]))`;

export const workloadDashboard: Dashboard = {
  uid: 'kmesh-workload',
  title: 'Kmesh / Workload',
  description: 'One workload: who calls it, whom it calls, and how well TCP carries it.',
  variables: [
    {
      name: 'namespace',
      label: 'Namespace',
      metric: 'kmesh_tcp_workload_connections_opened_total',
      values: 'source_workload_namespace',
    },
    {
      name: 'workload',
      label: 'Workload',
      metric: 'kmesh_tcp_workload_connections_opened_total{source_workload_namespace=~"$namespace"}',
      values: 'source_workload',
    },
  ],
  rows: [
    {
      title: 'Inbound',
      panels: [
        number(
          'Connections open',
          'short',
          'Connections to the workload that are open now.',
          query(openBy('destination_workload', 'kmesh_tcp_workload', inbound), '{{destination_workload}}'),
        ),
        lines(
          'Connections by client',
          'cps',
          'New connections per second to the workload, by client.',
          query(
            rateBy(
              'source_workload, source_workload_namespace',
              'kmesh_tcp_workload_connections_opened_total',
              inbound,
            ),
            '{{source_workload}}.{{source_workload_namespace}}',
          ),
        ),
        lines(
          'Bytes',
          'Bps',
          'Bytes per second that the workload gets from and sends to its clients.',
          query(
            rateBy('destination_workload', 'kmesh_tcp_workload_received_bytes_total', inbound),
            '{{destination_workload}} gets',
          ),
          query(
            rateBy('destination_workload', 'kmesh_tcp_workload_sent_bytes_total', inbound),
            '{{destination_workload}} sends',
          ),
        ),
        lines(
          'Connections by pod',
          'cps',
          'New connections per second by pod of the workload.',
          query(
            rateBy('destination_pod_name', 'kmesh_tcp_workload_connections_opened_total', inbound),
            '{{destination_pod_name}}',
          ),
        ),
      ],
    },
    {
      title: 'Outbound',
      panels: [
        lines(
          'Connections by server',
          'cps',
          'New connections per second that the workload opens, by the workload that answers.',
          query(
            rateBy(
              'destination_workload, destination_workload_namespace',
              'kmesh_tcp_workload_connections_opened_total',
              outbound,
            ),
            '{{destination_workload}}.{{destination_workload_namespace}}',
          ),
        ),
        lines(
          'Failed connections',
          'cps',
          'Connections of the workload that failed, by server and response flag. The access log names the reason.',
          query(
            rateBy(
              'destination_workload, response_flags',
              'kmesh_tcp_workload_connections_failed_total',
              outbound,
            ),
            '{{destination_workload}} {{response_flags}}',
          ),
        ),
        lines(
          'Retransmissions',
          'pps',
          'TCP segments per second that had to be sent again. On one node this is zero; else look at the network.',
          query(
            rateBy('destination_workload', 'kmesh_tcp_retransmissions_total', outbound),
            '{{destination_workload}}',
          ),
        ),
        lines(
          'Round-trip time',
          's',
          'Smoothed round-trip time of connections when they close: median and 99th percentile.',
          query(
            `histogram_quantile(0.5, ${roundTrip})`,
            '{{source_workload}} → {{destination_workload}} p50',
          ),
          query(
            `histogram_quantile(0.99, ${roundTrip})`,
            '{{source_workload}} → {{destination_workload}} p99',
          ),
        ),
      ],
    },
  ],
};
