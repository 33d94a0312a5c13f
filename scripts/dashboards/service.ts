import { type Dashboard, lines, number, openBy, query, rateBy } from './panel.ts';

const service =
  'reporter="$reporter",destination_service_namespace=~"$namespace",destination_service_name=~"$service"';

const routed = 'destination_service_namespace=~"$namespace",destination_service_name=~"$service"';
/** One split of connections: a route, and the service port whose connections it splits. */
const split = 'route, destination_service_namespace, destination_service_name, destination_port';
const backend = `${split}, backend_service`;
const backendLegend = '{{destination_service_name}}:{{destination_port}} {{backend_service}}';
const routeRate = `rate(kmesh_route_connections_total{${routed}}[$__rate_interval])`;

export const serviceDashboard: Dashboard = {
  uid: 'kmesh-service',
  title: 'Kmesh / Service',
  description: 'Who calls a service, which workloads answer, and what fails.',
  variables: [
    {
      name: 'reporter',
      label: 'Counted at',
      metric: 'kmesh_tcp_connections_opened_total',
      values: 'reporter',
      // Both sides count a connection between two pods of the mesh: added up it would count twice.
      only: 'source',
    },
    {
      name: 'namespace',
      label: 'Namespace',
      metric: 'kmesh_tcp_connections_opened_total',
      values: 'destination_service_namespace',
    },
    {
      name: 'service',
      label: 'Service',
      metric: 'kmesh_tcp_connections_opened_total{destination_service_namespace=~"$namespace"}',
      values: 'destination_service_name',
    },
  ],
  rows: [
    {
      title: 'Service',
      panels: [
        number(
          'Connections open',
          'short',
          'Connections to the service that are open now.',
          query(openBy('destination_service_name', 'kmesh_tcp', service), '{{destination_service_name}}'),
        ),
        lines(
          'Connections opened',
          'cps',
          'New connections per second to the service.',
          query(
            rateBy('destination_service_name', 'kmesh_tcp_connections_opened_total', service),
            '{{destination_service_name}}',
          ),
        ),
        lines(
          'Failure ratio',
          'percentunit',
          'The part of ended connections that failed, by response flag.',
          query(
            `sum by (response_flags) (rate(kmesh_tcp_connections_failed_total{${service}}[$__rate_interval])) / ` +
              `scalar(clamp_min(sum (rate(kmesh_tcp_connections_closed_total{${service}}[$__rate_interval])), 1e-9))`,
            '{{response_flags}}',
          ),
        ),
      ],
    },
    {
      title: 'Routes',
      panels: [
        lines(
          'Share by backend, wanted and got',
          'percentunit',
          'The part of new connections that a route wants each backend to have, beside the part that it got. Without a waypoint a route splits connections, not requests.',
          query(`max by (${backend}) (kmesh_route_share{${routed}})`, `${backendLegend} wanted`),
          query(
            `sum by (${backend}) (${routeRate}) / on (${split}) group_left () (sum by (${split}) (${routeRate}) > 0)`,
            `${backendLegend} got`,
          ),
        ),
        lines(
          'Refused for a backend',
          'cps',
          'Connections per second that a route gave to a backend that is not known, not permitted or without endpoints.',
          query(
            `sum by (${backend}) (rate(kmesh_route_refusals_total{${routed}}[$__rate_interval]))`,
            backendLegend,
          ),
        ),
        lines(
          'Routes not applied',
          'short',
          'Reasons why routes are not applied, or not everywhere; most need a waypoint.',
          query('sum by (route, reason) (kmesh_route_problems)', '{{route}}: {{reason}}'),
        ),
      ],
    },
    {
      title: 'Clients and servers',
      panels: [
        lines(
          'Connections by client',
          'cps',
          'New connections per second by the workload that calls.',
          query(
            rateBy(
              'source_workload, source_workload_namespace',
              'kmesh_tcp_connections_opened_total',
              service,
            ),
            '{{source_workload}}.{{source_workload_namespace}}',
          ),
        ),
        lines(
          'Connections by server',
          'cps',
          'New connections per second by the workload that answers: shows how the load is balanced.',
          query(
            rateBy(
              'destination_workload, destination_version',
              'kmesh_tcp_connections_opened_total',
              service,
            ),
            '{{destination_workload}} {{destination_version}}',
          ),
        ),
        lines(
          'Bytes by client',
          'Bps',
          'Bytes per second that each client sends to and gets from the service.',
          query(
            rateBy('source_workload', 'kmesh_tcp_received_bytes_total', service),
            '{{source_workload}} sends',
          ),
          query(rateBy('source_workload', 'kmesh_tcp_sent_bytes_total', service), '{{source_workload}} gets'),
        ),
        lines(
          'Security',
          'cps',
          'New connections per second by security policy; - is plain text.',
          query(
            rateBy('connection_security_policy', 'kmesh_tcp_connections_opened_total', service),
            '{{connection_security_policy}}',
          ),
        ),
      ],
    },
  ],
};
