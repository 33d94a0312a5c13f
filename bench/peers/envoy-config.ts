/**
 * Envoy's configuration as Istio generates it for a sidecar, as far as Envoy's own build supports it: virtual listeners
 * on 15001 and 15006 that use the original destination, one listener for each port of the service, mTLS between the
 * two, the access log in Istio's format, and statistics with Istio's inclusion list. It lacks the parts of Istio's own
 * build (metrics and metadata exchange): a real sidecar does more.
 */

/** A sidecar's mode for the service's HTTP ports. */
export type EnvoyVariant = 'tcp' | 'http';

/** A certificate and the trusted roots, in PEM. */
export interface SidecarIdentity {
  readonly certificateChainPem: string;
  readonly privateKeyPem: string;
  readonly rootsPem: readonly string[];
}

/** Configuration of the service for both sidecars. */
export interface SidecarService {
  readonly hostname: string;
  readonly vip: string;
  readonly endpoint: string;
  /** Ports whose connections carry HTTP. */
  readonly httpPorts: readonly number[];
  readonly tcpPorts: readonly number[];
  /** SPIFFE URIs of the two ends. */
  readonly clientUri: string;
  readonly serverUri: string;
}

type Json = Readonly<Record<string, unknown>>;

const ACCESS_LOG =
  '[%START_TIME%] "%REQ(:METHOD)% %REQ(X-ENVOY-ORIGINAL-PATH?:PATH)% %PROTOCOL%" %RESPONSE_CODE% %RESPONSE_FLAGS% ' +
  '%RESPONSE_CODE_DETAILS% %CONNECTION_TERMINATION_DETAILS% "%UPSTREAM_TRANSPORT_FAILURE_REASON%" %BYTES_RECEIVED% ' +
  '%BYTES_SENT% %DURATION% %RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)% "%REQ(X-FORWARDED-FOR)%" "%REQ(USER-AGENT)%" ' +
  '"%REQ(X-REQUEST-ID)%" "%REQ(:AUTHORITY)%" "%UPSTREAM_HOST%" %UPSTREAM_CLUSTER_RAW% %UPSTREAM_LOCAL_ADDRESS% ' +
  '%DOWNSTREAM_LOCAL_ADDRESS% %DOWNSTREAM_REMOTE_ADDRESS% %REQUESTED_SERVER_NAME% %ROUTE_NAME%\n';

const extension = (name: string, type: string, fields: Json = {}): Json => ({
  name,
  typed_config: { '@type': `type.googleapis.com/envoy.extensions.${type}`, ...fields },
});

const socketAddress = (address: string, port: number): Json => ({
  socket_address: { address, port_value: port },
});

/** Lines go to /dev/null: the container runtime's work on them is not measured for any contestant. */
const accessLog = [
  extension('envoy.access_loggers.file', 'access_loggers.file.v3.FileAccessLog', {
    path: '/dev/null',
    log_format: { text_format_source: { inline_string: ACCESS_LOG } },
  }),
];

/** Envoy of the client: from the service's address to mTLS with the endpoint. */
export function outboundSidecar(
  variant: EnvoyVariant,
  service: SidecarService,
  identity: SidecarIdentity,
): Json {
  const ports = [...service.httpPorts, ...service.tcpPorts];
  const isHttp = (port: number): boolean => variant === 'http' && service.httpPorts.includes(port);
  const listeners = ports.map((port) => ({
    name: `${service.vip}_${port}`,
    address: socketAddress(service.vip, port),
    bind_to_port: false,
    traffic_direction: 'OUTBOUND',
    filter_chains: [
      { filters: [proxyFilter(isHttp(port), `outbound|${port}||${service.hostname}`, 'outbound')] },
    ],
  }));
  const clusters = ports.map((port) => ({
    name: `outbound|${port}||${service.hostname}`,
    type: 'STATIC',
    connect_timeout: '10s',
    ...withoutLimits,
    load_assignment: {
      cluster_name: `outbound|${port}||${service.hostname}`,
      endpoints: [{ lb_endpoints: [{ endpoint: { address: socketAddress(service.endpoint, port) } }] }],
    },
    transport_socket: extension(
      'envoy.transport_sockets.tls',
      'transport_sockets.tls.v3.UpstreamTlsContext',
      {
        common_tls_context: tlsContext(identity, service.serverUri, [
          isHttp(port) ? 'istio-http/1.1' : 'istio',
        ]),
        sni: `outbound_.${port}_._.${service.hostname}`,
      },
    ),
  }));
  return bootstrap('client', [virtualListener('virtualOutbound', 15001, 'OUTBOUND'), ...listeners], clusters);
}

/** Envoy of the server: from mTLS to the application at its own address. */
export function inboundSidecar(
  variant: EnvoyVariant,
  service: SidecarService,
  identity: SidecarIdentity,
): Json {
  const ports = [...service.httpPorts, ...service.tcpPorts];
  const chains = ports.map((port) => ({
    name: `${port}`,
    filter_chain_match: { destination_port: port, transport_protocol: 'tls' },
    transport_socket: extension(
      'envoy.transport_sockets.tls',
      'transport_sockets.tls.v3.DownstreamTlsContext',
      {
        require_client_certificate: true,
        common_tls_context: tlsContext(identity, service.clientUri, ['istio-http/1.1', 'istio']),
      },
    ),
    filters: [
      proxyFilter(variant === 'http' && service.httpPorts.includes(port), `inbound|${port}||`, 'inbound'),
    ],
  }));
  const clusters = ports.map((port) => ({
    name: `inbound|${port}||`,
    type: 'ORIGINAL_DST',
    lb_policy: 'CLUSTER_PROVIDED',
    connect_timeout: '10s',
    ...withoutLimits,
    upstream_bind_config: { source_address: { address: '127.0.0.6', port_value: 0 } },
  }));
  const listener = {
    ...virtualListener('virtualInbound', 15006, 'INBOUND'),
    use_original_dst: false,
    listener_filters: [
      extension('envoy.filters.listener.original_dst', 'filters.listener.original_dst.v3.OriginalDst'),
      extension('envoy.filters.listener.tls_inspector', 'filters.listener.tls_inspector.v3.TlsInspector'),
    ],
    filter_chains: chains,
  };
  return bootstrap('server', [listener], clusters);
}

const withoutLimits = {
  circuit_breakers: {
    thresholds: [
      {
        max_connections: 4_294_967_295,
        max_pending_requests: 4_294_967_295,
        max_requests: 4_294_967_295,
        max_retries: 4_294_967_295,
      },
    ],
  },
};

function virtualListener(name: string, port: number, direction: string): Json {
  return {
    name,
    address: socketAddress('0.0.0.0', port),
    traffic_direction: direction,
    use_original_dst: true,
    filter_chains: [{ filters: [proxyFilter(false, 'PassthroughCluster', 'passthrough')] }],
  };
}

function proxyFilter(isHttp: boolean, cluster: string, prefix: string): Json {
  const common = { stat_prefix: prefix, access_log: accessLog };
  if (!isHttp)
    return extension('envoy.filters.network.tcp_proxy', 'filters.network.tcp_proxy.v3.TcpProxy', {
      ...common,
      cluster,
    });
  return extension(
    'envoy.filters.network.http_connection_manager',
    'filters.network.http_connection_manager.v3.HttpConnectionManager',
    {
      ...common,
      http_filters: [
        extension('envoy.filters.http.fault', 'filters.http.fault.v3.HTTPFault'),
        extension('envoy.filters.http.cors', 'filters.http.cors.v3.Cors'),
        extension('envoy.filters.http.router', 'filters.http.router.v3.Router'),
      ],
      route_config: {
        name: cluster,
        virtual_hosts: [
          {
            name: 'all',
            domains: ['*'],
            routes: [
              {
                name: 'default',
                match: { prefix: '/' },
                route: {
                  cluster,
                  timeout: '0s',
                  retry_policy: { retry_on: 'connect-failure', num_retries: 2 },
                },
              },
            ],
          },
        ],
      },
    },
  );
}

function tlsContext(identity: SidecarIdentity, peer: string, alpn: readonly string[]): Json {
  return {
    alpn_protocols: alpn,
    tls_certificates: [
      {
        certificate_chain: { inline_string: identity.certificateChainPem },
        private_key: { inline_string: identity.privateKeyPem },
      },
    ],
    validation_context: {
      trusted_ca: { inline_string: identity.rootsPem.join('') },
      match_typed_subject_alt_names: [{ san_type: 'URI', matcher: { exact: peer } }],
    },
  };
}

function bootstrap(name: string, listeners: readonly Json[], clusters: readonly Json[]): Json {
  const passthrough = {
    name: 'PassthroughCluster',
    type: 'ORIGINAL_DST',
    lb_policy: 'CLUSTER_PROVIDED',
    connect_timeout: '10s',
  };
  return {
    node: { id: `sidecar~${name}`, cluster: name },
    admin: { address: socketAddress('127.0.0.1', 15000) },
    stats_config: {
      use_all_default_tags: false,
      stats_matcher: {
        inclusion_list: {
          patterns: ['reporter=', 'cluster_manager', 'listener_manager', 'server', 'cluster.xds-grpc'].map(
            (prefix) => ({ prefix }),
          ),
        },
      },
    },
    static_resources: { listeners, clusters: [...clusters, passthrough] },
  };
}
