import { type Dashboard, lines, number, query, rateBy } from './panel.ts';

const node = 'instance=~"$instance"';

export const kernelPath: Dashboard = {
  uid: 'kmesh-kernel-path',
  title: 'Kmesh / Kernel path',
  description:
    'What the eBPF programs carry, why connections take the tunnel instead, what is full and what it costs.',
  variables: [
    { name: 'instance', label: 'Node proxy', metric: 'kmesh_connections_path_total', values: 'instance' },
  ],
  rows: [
    {
      title: 'Use',
      panels: [
        number(
          'Kernel share',
          'percentunit',
          'The part of new connections that the kernel path carries.',
          query(
            `sum (rate(kmesh_connections_path_total{${node},path="kernel"}[$__rate_interval])) / ` +
              `clamp_min(sum (rate(kmesh_connections_path_total{${node}}[$__rate_interval])), 1e-9)`,
            'kernel',
          ),
        ),
        lines(
          'Kernel path by reason',
          'cps',
          'New connections per second on the kernel path, by what led to it.',
          query(rateBy('reason', 'kmesh_connections_path_total', `${node},path="kernel"`), '{{reason}}'),
        ),
        lines(
          'Tunnel path by kind',
          'cps',
          'New connections per second on the tunnel path, by how the tunnel carried them.',
          query(rateBy('reason', 'kmesh_connections_path_total', `${node},path="tunnel"`), '{{reason}}'),
        ),
        lines(
          'Left to the tunnel',
          'cps',
          'Connects per second that the connect hook left to the tunnel path, by why the kernel path could not take them.',
          query(rateBy('reason', 'kmesh_connect_decisions_total', `${node},path="tunnel"`), '{{reason}}'),
        ),
      ],
    },
    {
      title: 'Tables',
      panels: [
        lines(
          'Fill',
          'percentunit',
          'Entries in each kernel table, as a part of its size. What does not fit takes the tunnel path: raise the size before 100 %.',
          query(
            `kmesh_table_entries{${node}} / kmesh_table_maximum_entries{${node}}`,
            '{{pod}} {{instance}} {{table}}',
          ),
        ),
        lines(
          'Entries',
          'short',
          'Entries in each kernel table.',
          query(`sum by (table) (kmesh_table_entries{${node}})`, '{{table}}'),
        ),
      ],
    },
    {
      title: 'Cost',
      panels: [
        lines(
          'Time per run',
          's',
          'Mean time of one run of each kernel program. Needs kernel.bpf_stats_enabled or the daemon’s profiling.',
          query(
            `sum by (program) (rate(kmesh_hook_seconds_total{${node}}[$__rate_interval])) / ` +
              `sum by (program) (rate(kmesh_hook_runs_total{${node}}[$__rate_interval]))`,
            '{{program}}',
          ),
        ),
        lines(
          'Processors used',
          'short',
          'Processors that each kernel program keeps busy. Charged to the pods that cause it.',
          query(rateBy('program', 'kmesh_hook_seconds_total', node), '{{program}}'),
        ),
        lines(
          'Runs',
          'ops',
          'Runs per second of each kernel program.',
          query(rateBy('program', 'kmesh_hook_runs_total', node), '{{program}}'),
        ),
      ],
    },
    {
      title: 'Telemetry',
      panels: [
        lines(
          'Events lost',
          'cps',
          'Kernel events per second that found no room in the ring. Their connections are counted from the flow table instead.',
          query(rateBy('pod, instance', 'kmesh_ring_events_lost_total', node), '{{pod}} {{instance}}'),
        ),
        lines(
          'Connections reconciled',
          'cps',
          'Connections per second that were counted although an event of theirs was lost.',
          query(rateBy('pod, instance', 'kmesh_connections_reconciled_total', node), '{{pod}} {{instance}}'),
        ),
        lines(
          'Round-trip time',
          's',
          'Median and 99th percentile of the smoothed round-trip time over all connections.',
          query(
            `histogram_quantile(0.5, sum by (le) (rate(kmesh_tcp_round_trip_seconds_bucket{${node}}[$__rate_interval])))`,
            'p50',
          ),
          query(
            `histogram_quantile(0.99, sum by (le) (rate(kmesh_tcp_round_trip_seconds_bucket{${node}}[$__rate_interval])))`,
            'p99',
          ),
        ),
      ],
    },
  ],
};
