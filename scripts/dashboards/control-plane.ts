import { type Dashboard, lines, number, query, rateBy } from './panel.ts';

const node = 'instance=~"$instance"';

export const controlPlane: Dashboard = {
  uid: 'kmesh-control-plane',
  title: 'Kmesh / Control plane',
  description:
    'The node proxies’ view of istiod, of istio-cni and of DNS, and the health of their own telemetry.',
  variables: [
    { name: 'instance', label: 'Node proxy', metric: 'istio_build{component="ztunnel"}', values: 'instance' },
  ],
  rows: [
    {
      title: 'xDS',
      panels: [
        lines(
          'Messages',
          'ops',
          'Messages per second from istiod, by resource type.',
          query(rateBy('url', 'istio_xds_message_total', node), '{{url}}'),
        ),
        lines(
          'Bytes',
          'Bps',
          'Payload bytes per second from istiod, by resource type.',
          query(rateBy('url', 'istio_xds_message_bytes_total', node), '{{url}}'),
        ),
        lines(
          'Disconnections',
          'ops',
          'Ends of the connection to istiod by reason. Reconnect is normal every half hour; ConnectionError means that istiod cannot be reached, and the last state is served.',
          query(rateBy('reason', 'istio_xds_connection_terminations_total', node), '{{reason}}'),
        ),
      ],
    },
    {
      title: 'Pods',
      panels: [
        lines(
          'Pods served',
          'short',
          'Pods by state. Pending pods have no mesh yet.',
          query(
            `sum by (pod, instance) (workload_manager_active_proxy_count{${node}})`,
            '{{pod}} {{instance}} active',
          ),
          query(
            `sum by (pod, instance) (workload_manager_pending_proxy_count{${node}})`,
            '{{pod}} {{instance}} pending',
          ),
        ),
        lines(
          'Pods started and stopped',
          'ops',
          'Pods per second that begin and cease to be served.',
          query(`sum (rate(workload_manager_proxies_started_total{${node}}[$__rate_interval]))`, 'started'),
          query(`sum (rate(workload_manager_proxies_stopped_total{${node}}[$__rate_interval]))`, 'stopped'),
        ),
        lines(
          'Revocation',
          'cps',
          'Connections per second refused for a revoked certificate, and connections that a later revocation cannot cut.',
          query(rateBy('reporter', 'istio_crl_policy_rejections_total', node), '{{reporter}} refused'),
          query(rateBy('reporter', 'istio_crl_untracked_connections_total', node), '{{reporter}} untracked'),
        ),
      ],
    },
    {
      title: 'DNS',
      panels: [
        lines(
          'Queries',
          'ops',
          'DNS queries per second: all, forwarded upstream, failed there, and hostnames resolved for connections.',
          query(`sum (rate(istio_dns_requests_total{${node}}[$__rate_interval]))`, 'all'),
          query(`sum (rate(istio_dns_upstream_requests_total{${node}}[$__rate_interval]))`, 'forwarded'),
          query(`sum (rate(istio_dns_upstream_failures_total{${node}}[$__rate_interval]))`, 'failed'),
          query(`sum (rate(istio_on_demand_dns_total{${node}}[$__rate_interval]))`, 'for connections'),
        ),
        lines(
          'Upstream time',
          's',
          '99th percentile of the time until the upstream server answered.',
          query(
            `histogram_quantile(0.99, sum by (le) (rate(istio_dns_upstream_request_duration_seconds_bucket{${node}}[$__rate_interval])))`,
            'p99',
          ),
        ),
      ],
    },
    {
      title: 'Telemetry',
      panels: [
        number(
          'Series',
          'short',
          'Series of connection metrics, by node proxy.',
          query(`sum by (pod, instance) (kmesh_metrics_series{${node}})`, '{{pod}} {{instance}}'),
        ),
        lines(
          'Label sets refused',
          'ops',
          'Label sets per second that the cap on series kept out. Above zero the traffic metrics are incomplete.',
          query(rateBy('pod, instance', 'kmesh_metrics_series_dropped_total', node), '{{pod}} {{instance}}'),
        ),
        lines(
          'Log lines dropped',
          'ops',
          'Log lines per second dropped because their consumer was too slow.',
          query(rateBy('pod, instance', 'kmesh_log_lines_dropped_total', node), '{{pod}} {{instance}}'),
        ),
        lines(
          'Pods at their share',
          'ops',
          'Per second and pod: connections refused for want of descriptors, log lines left out, labels counted as other. Another pod is not concerned.',
          query(
            `sum by (exported_namespace, exported_pod) (rate(kmesh_pod_share_refusals_total{${node}}[$__rate_interval]))`,
            '{{exported_namespace}}/{{exported_pod}} refused',
          ),
          query(
            `sum by (exported_namespace, exported_pod) (rate(kmesh_pod_log_lines_suppressed_total{${node}}[$__rate_interval]))`,
            '{{exported_namespace}}/{{exported_pod}} log lines',
          ),
          query(
            `sum by (exported_namespace, exported_pod) (rate(kmesh_pod_series_overflow_total{${node}}[$__rate_interval]))`,
            '{{exported_namespace}}/{{exported_pod}} series',
          ),
        ),
      ],
    },
  ],
};
