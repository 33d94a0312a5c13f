import type { Manifest } from '../api/api.ts';
import { network } from '../bare/addresses.ts';
import { waypointImage } from '../bare/images.ts';

/** A waypoint of one service with one pod. */
export interface WaypointPlace {
  readonly name: string;
  readonly namespace: string;
  readonly node: string;
  /** The pod behind the service: its address, and the port on which it serves HTTP. */
  readonly target: { readonly address: string; readonly port: number };
  /** Requests whose path begins with it are refused with 403. */
  readonly deniedPath: string;
  /** A header that the waypoint adds to requests, with its name. */
  readonly header: string;
}

type Json = Readonly<Record<string, unknown>>;

const HBONE = 15008;
const secrets = '/var/run/secrets';
const certificates = `${secrets}/certificates`;
/** Longer than those of a request that a client sends by default: the cases' are large. */
const HEADERS_KB = 1024;
const extension = (name: string, type: string, fields: Json = {}): Json => ({
  name,
  typed_config: { '@type': `type.googleapis.com/envoy.extensions.${type}`, ...fields },
});
const manager = (fields: Json): Json =>
  extension(
    'envoy.filters.network.http_connection_manager',
    'filters.network.http_connection_manager.v3.HttpConnectionManager',
    fields,
  );
const router = extension('envoy.filters.http.router', 'filters.http.router.v3.Router');
const internal = (listener: string): Json => ({
  endpoint: {
    address: { envoy_internal_address: { server_listener_name: listener, endpoint_id: listener } },
  },
});
const cluster = (name: string, endpoint: Json, fields: Json = {}): Json => ({
  name,
  type: 'STATIC',
  connect_timeout: '5s',
  load_assignment: { cluster_name: name, endpoints: [{ lb_endpoints: [endpoint] }] },
  ...fields,
});
const http2 = {
  typed_extension_protocol_options: {
    'envoy.extensions.upstreams.http.v3.HttpProtocolOptions': {
      '@type': 'type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions',
      explicit_http_config: { http2_protocol_options: { allow_connect: true } },
    },
  },
};
const toInternal = {
  transport_socket: extension(
    'envoy.transport_sockets.internal_upstream',
    'transport_sockets.internal_upstream.v3.InternalUpstreamTransport',
    {
      transport_socket: extension(
        'envoy.transport_sockets.raw_buffer',
        'transport_sockets.raw_buffer.v3.RawBuffer',
      ),
    },
  ),
};
/** What the agent beside Envoy got from istiod. */
const tls = {
  // Where it is a client Envoy offers no more than 1.2 otherwise.
  tls_params: { tls_minimum_protocol_version: 'TLSv1_3', tls_maximum_protocol_version: 'TLSv1_3' },
  tls_certificates: [
    {
      certificate_chain: { filename: `${certificates}/cert-chain.pem` },
      private_key: { filename: `${certificates}/key.pem` },
    },
  ],
  validation_context: { trusted_ca: { filename: `${certificates}/root-cert.pem` } },
  alpn_protocols: ['h2'],
};
const log = (format: string): Json[] => [
  extension('envoy.access_loggers.stdout', 'access_loggers.stream.v3.StdoutAccessLog', {
    log_format: { text_format_source: { inline_string: `${format}\n` } },
  }),
];

/**
 * Configuration of a plain Envoy that does what Istio's own does for a waypoint: takes HBONE, looks at the requests inside,
 * and sends them on by HBONE, with the waypoint's identity. What Istio's build has beside that is not in it.
 */
export function waypointConfiguration({ name, target, deniedPath, header }: WaypointPlace): Json {
  const listeners = [
    {
      name: 'terminate',
      address: { socket_address: { address: '0.0.0.0', port_value: HBONE } },
      filter_chains: [
        {
          transport_socket: extension(
            'envoy.transport_sockets.tls',
            'transport_sockets.tls.v3.DownstreamTlsContext',
            {
              common_tls_context: tls,
              require_client_certificate: true,
            },
          ),
          filters: [
            manager({
              stat_prefix: 'terminate',
              http2_protocol_options: { allow_connect: true },
              upgrade_configs: [{ upgrade_type: 'CONNECT' }],
              stream_idle_timeout: '0s',
              access_log: log(
                'waypoint tunnel to=%REQ(:AUTHORITY)% from=%DOWNSTREAM_PEER_URI_SAN% %RESPONSE_CODE%',
              ),
              http_filters: [router],
              route_config: {
                virtual_hosts: [
                  {
                    name: 'all',
                    domains: ['*'],
                    routes: [
                      {
                        match: { connect_matcher: {} },
                        route: {
                          cluster: 'inside',
                          upgrade_configs: [{ upgrade_type: 'CONNECT', connect_config: {} }],
                        },
                      },
                    ],
                  },
                ],
              },
            }),
          ],
        },
      ],
    },
    {
      name: 'inside',
      internal_listener: {},
      filter_chains: [
        {
          filters: [
            manager({
              stat_prefix: 'inside',
              max_request_headers_kb: HEADERS_KB,
              access_log: log(
                'waypoint request %REQ(:METHOD)% %REQ(:PATH)% %RESPONSE_CODE% sent=%BYTES_SENT%',
              ),
              http_filters: [
                extension('envoy.filters.http.rbac', 'filters.http.rbac.v3.RBAC', {
                  rules: {
                    action: 'DENY',
                    policies: {
                      denied: {
                        permissions: [{ url_path: { path: { prefix: deniedPath } } }],
                        principals: [{ any: true }],
                      },
                    },
                  },
                }),
                router,
              ],
              route_config: {
                virtual_hosts: [
                  {
                    name: 'all',
                    domains: ['*'],
                    routes: [
                      {
                        match: { prefix: '/' },
                        route: { cluster: 'pod', timeout: '30s' },
                        request_headers_to_add: [{ header: { key: header, value: name } }],
                      },
                    ],
                  },
                ],
              },
            }),
          ],
        },
      ],
    },
    {
      name: 'originate',
      internal_listener: {},
      filter_chains: [
        {
          filters: [
            extension('envoy.filters.network.tcp_proxy', 'filters.network.tcp_proxy.v3.TcpProxy', {
              stat_prefix: 'originate',
              cluster: 'peer',
              tunneling_config: { hostname: `${target.address}:${target.port}` },
            }),
          ],
        },
      ],
    },
  ];
  const clusters = [
    cluster('inside', internal('inside'), toInternal),
    cluster('pod', internal('originate'), toInternal),
    cluster(
      'peer',
      { endpoint: { address: { socket_address: { address: target.address, port_value: HBONE } } } },
      {
        ...http2,
        transport_socket: extension(
          'envoy.transport_sockets.tls',
          'transport_sockets.tls.v3.UpstreamTlsContext',
          { common_tls_context: tls },
        ),
      },
    ),
  ];
  return {
    node: { id: name, cluster: name },
    bootstrap_extensions: [
      extension('envoy.bootstrap.internal_listener', 'bootstrap.internal_listener.v3.InternalListener'),
    ],
    static_resources: { listeners, clusters },
  };
}

/** A waypoint as a person who does not let Istio deploy it makes one: the Gateway, and a service and pods that it names. */
export function waypointManifests(place: WaypointPlace): Manifest[] {
  const { name, namespace, node } = place;
  const metadata = { name, namespace };
  // Istio knows a waypoint's pods by the first; the last keeps istio-cni away.
  const labels = {
    'gateway.networking.k8s.io/gateway-name': name,
    'istio.io/dataplane-mode': 'none',
    app: name,
  };
  const hostname = `${name}.${namespace}.svc.${network.domain}`;
  const fromField = (fieldPath: string): Json => ({ valueFrom: { fieldRef: { fieldPath } } });
  const certificatesMount = { name: 'certificates', mountPath: certificates };
  return [
    { apiVersion: 'v1', kind: 'ServiceAccount', metadata },
    {
      apiVersion: 'v1',
      kind: 'ConfigMap',
      metadata,
      data: { 'envoy.json': JSON.stringify(waypointConfiguration(place)) },
    },
    {
      apiVersion: 'v1',
      kind: 'Service',
      metadata,
      spec: {
        selector: { app: name },
        ports: [{ name: 'mesh', port: HBONE, appProtocol: 'hbone' }],
      },
    },
    {
      apiVersion: 'apps/v1',
      kind: 'Deployment',
      metadata,
      spec: {
        replicas: 1,
        selector: { matchLabels: { app: name } },
        template: {
          metadata: { labels },
          spec: {
            serviceAccountName: name,
            terminationGracePeriodSeconds: 1,
            nodeSelector: { 'kubernetes.io/hostname': node },
            containers: [
              {
                name: 'envoy',
                image: waypointImage,
                // The root is the last file that the agent writes.
                command: ['sh', '-c'],
                args: [
                  `until [ -s ${certificates}/root-cert.pem ]; do sleep 0.1; done; exec /usr/local/bin/envoy --config-path /etc/envoy/envoy.json`,
                ],
                volumeMounts: [{ name: 'config', mountPath: '/etc/envoy' }, certificatesMount],
                readinessProbe: { tcpSocket: { port: HBONE }, periodSeconds: 1 },
              },
              {
                name: 'agent',
                image: waypointImage,
                command: ['/usr/local/bin/pilot-agent', 'proxy', 'waypoint'],
                workingDir: '/',
                env: [
                  { name: 'DISABLE_ENVOY', value: 'true' },
                  { name: 'OUTPUT_CERTS', value: certificates },
                  { name: 'PILOT_CERT_PROVIDER', value: 'istiod' },
                  { name: 'CA_ADDR', value: 'istiod.istio-system.svc:15012' },
                  { name: 'POD_NAME', ...fromField('metadata.name') },
                  { name: 'POD_NAMESPACE', ...fromField('metadata.namespace') },
                  { name: 'INSTANCE_IP', ...fromField('status.podIP') },
                  { name: 'SERVICE_ACCOUNT', ...fromField('spec.serviceAccountName') },
                  { name: 'TRUST_DOMAIN', value: network.domain },
                ],
                volumeMounts: [
                  certificatesMount,
                  { name: 'token', mountPath: `${secrets}/tokens` },
                  { name: 'authority', mountPath: `${secrets}/istio` },
                ],
              },
            ],
            volumes: [
              { name: 'config', configMap: { name } },
              { name: 'certificates', emptyDir: {} },
              { name: 'authority', configMap: { name: 'istio-ca-root-cert' } },
              {
                name: 'token',
                projected: {
                  sources: [
                    {
                      serviceAccountToken: {
                        audience: 'istio-ca',
                        expirationSeconds: 43200,
                        path: 'istio-token',
                      },
                    },
                  ],
                },
              },
            ],
          },
        },
      },
    },
    {
      apiVersion: 'gateway.networking.k8s.io/v1',
      kind: 'Gateway',
      metadata: { ...metadata, labels: { 'istio.io/waypoint-for': 'service' } } as Manifest['metadata'],
      spec: {
        gatewayClassName: 'istio-waypoint',
        listeners: [{ name: 'mesh', port: HBONE, protocol: 'HBONE' }],
        // With an address that is a name Istio takes what is there, and deploys nothing.
        addresses: [{ type: 'Hostname', value: hostname }],
      },
    },
  ];
}
