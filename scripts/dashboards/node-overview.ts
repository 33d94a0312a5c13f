import { type Dashboard, lines, number, openBy, query, rateBy } from './panel.ts';

const node = 'instance=~"$instance"';

export const nodeOverview: Dashboard = {
  uid: 'kmesh-node-overview',
  title: 'Kmesh / Node overview',
  description: 'What the node proxies do: connections, bytes, failures, paths, and what they cost.',
  variables: [
    { name: 'instance', label: 'Node proxy', metric: 'istio_build{component="ztunnel"}', values: 'instance' },
  ],
  rows: [
    {
      title: 'At a glance',
      panels: [
        number(
          'Versions',
          'short',
          'Node proxies by version. More than one version outside an upgrade is a roll-out that got stuck.',
          query(`sum by (tag) (istio_build{component="ztunnel",${node}})`, '{{tag}}'),
        ),
        number(
          'Connections open',
          'short',
          'Connections that are open now, counted at the client side (source) and the server side (destination).',
          query(openBy('reporter', 'istio_tcp', node), '{{reporter}}'),
        ),
        number(
          'Pods served',
          'short',
          'Pods in the mesh on these nodes. Pending above zero for long: look for errors of scope zds in the log.',
          query(`sum (workload_manager_active_proxy_count{${node}})`, 'active'),
          query(`sum (workload_manager_pending_proxy_count{${node}})`, 'pending'),
        ),
      ],
    },
    {
      title: 'Traffic',
      panels: [
        lines(
          'Connections opened',
          'cps',
          'New connections per second by node proxy and side.',
          query(
            rateBy('pod, instance, reporter', 'istio_tcp_connections_opened_total', node),
            '{{pod}} {{instance}} {{reporter}}',
          ),
        ),
        lines(
          'Bytes',
          'Bps',
          'Payload bytes per second at the client side: what clients sent and what servers sent.',
          query(
            rateBy('pod, instance', 'istio_tcp_received_bytes_total', `${node},reporter="source"`),
            '{{pod}} {{instance}} from clients',
          ),
          query(
            rateBy('pod, instance', 'istio_tcp_sent_bytes_total', `${node},reporter="source"`),
            '{{pod}} {{instance}} from servers',
          ),
        ),
        lines(
          'Failed connections',
          'cps',
          'Connections that failed, by side and response flag: DENY is policy, CONNECT the network or the server, NETWORK_POLICY a blocked port 15008, IDENTITY_ERROR a missing certificate.',
          query(
            rateBy('reporter, response_flags', 'istio_tcp_connections_failed_total', node),
            '{{reporter}} {{response_flags}}',
          ),
        ),
        lines(
          'Path',
          'cps',
          'New connections per second by the path that carries their bytes. The kernel path costs no proxy time.',
          query(rateBy('path', 'kmesh_connections_path_total', node), '{{path}}'),
        ),
        lines(
          'Under mutual TLS',
          'percentunit',
          'The part of new connections that mutual TLS protects. Same-node connections on the kernel path do not leave the node and count as not protected.',
          query(
            `sum (rate(istio_tcp_connections_opened_total{${node},connection_security_policy="mutual_tls"}[$__rate_interval])) / ` +
              `clamp_min(sum (rate(istio_tcp_connections_opened_total{${node}}[$__rate_interval])), 1e-9)`,
            'mutual TLS',
          ),
        ),
        lines(
          'Sockets',
          'short',
          'Sockets that the tunnel path holds open for clients (source) and servers (destination).',
          query(
            `sum by (pod, instance, reporter) (istio_tcp_sockets_open{${node}})`,
            '{{pod}} {{instance}} {{reporter}}',
          ),
        ),
      ],
    },
    {
      title: 'Cost',
      panels: [
        lines(
          'Processor',
          'short',
          'Processors in use by the node proxy. Kernel programs are charged to the pods: see the kernel path dashboard.',
          query(
            `sum by (pod, instance) (rate(process_cpu_seconds_total{${node}}[$__rate_interval]))`,
            '{{pod}} {{instance}}',
          ),
        ),
        lines(
          'Memory',
          'bytes',
          'Resident memory of the node proxy.',
          query(`sum by (pod, instance) (process_resident_memory_bytes{${node}})`, '{{pod}} {{instance}}'),
        ),
        lines(
          'File descriptors',
          'percentunit',
          'File descriptors in use, as a part of the limit. At 100 % new connections are refused: raise the limit.',
          query(`process_open_fds{${node}} / process_max_fds{${node}}`, '{{pod}} {{instance}}'),
        ),
      ],
    },
  ],
};
