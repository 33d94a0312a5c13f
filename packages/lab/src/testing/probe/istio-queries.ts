/** Ambient contract 21: what Istio's own dashboards and Kiali ask for. Container metrics come from the kubelet. */
export const istioQueries: readonly string[] = [
  'sum by (tag) (istio_build{component="ztunnel"})',
  'sum by (pod) (rate(istio_tcp_connections_opened_total{pod=~"ztunnel-.*"}[10s]))',
  '-sum by (pod) (rate(istio_tcp_connections_closed_total{pod=~"ztunnel-.*"}[10s]))',
  'sum by (pod) (rate(istio_tcp_sent_bytes_total{pod=~"ztunnel-.*"}[10s]))',
  'sum by (pod) (rate(istio_tcp_received_bytes_total{pod=~"ztunnel-.*"}[10s]))',
  'sum by (pod) (rate(istio_dns_requests_total{pod=~"ztunnel-.*"}[10s]))',
  'sum by (pod) (rate(istio_xds_connection_terminations_total{pod=~"ztunnel-.*"}[10s]))',
  'sum by (url) (irate(istio_xds_message_total{pod=~"ztunnel-.*"}[10s]))',
  'workload_manager_active_proxy_count{pod=~"ztunnel-.*"}',
  'workload_manager_pending_proxy_count{pod=~"ztunnel-.*"}',
  'sum(istio_tcp_connections_opened_total{app="ztunnel"}) - sum(istio_tcp_connections_closed_total{app="ztunnel"})',
  'process_open_fds{app="ztunnel"}',
  'sum by (reporter) (istio_tcp_sockets_open{app="ztunnel"})',
  'sum by (destination_workload, destination_service) (rate(istio_tcp_sent_bytes_total{reporter=~"source|waypoint"}[10s]))',
  'sum by (source_workload_namespace, source_workload, source_canonical_service, source_canonical_revision, ' +
    'destination_service_namespace, destination_service_name, destination_workload, destination_app, destination_version, ' +
    'response_flags, connection_security_policy) (rate(istio_tcp_received_bytes_total{app="ztunnel",reporter="source"}[10s]))',
];
