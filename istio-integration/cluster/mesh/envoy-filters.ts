import type { Manifest } from '../api/api.ts';

type Json = Readonly<Record<string, unknown>>;

const manager = 'envoy.filters.network.http_connection_manager';
const httpFilter = (name: string, patch: Json): Json => ({
  applyTo: 'HTTP_FILTER',
  match: { context: 'ANY', listener: { filterChain: { filter: { name: manager, subFilter: { name } } } } },
  patch,
});
const networkFilter = (name: string, patch: Json): Json => ({
  applyTo: 'NETWORK_FILTER',
  match: { context: 'ANY', listener: { filterChain: { filter: { name } } } },
  patch,
});
const gone: Json = { operation: 'REMOVE' };

const filterState = (key: string, format: string, fields: Json = {}): Json => ({
  object_key: key,
  format_string: { text_format_source: { inline_string: format } },
  shared_with_upstream: 'ONCE',
  ...fields,
});
/** Envoy's own type that replaces `istio.hashable_string`. */
const hashable: Json = { factory_key: 'envoy.hashable_string' };

/** The tunnel metadata of istiod's filter of this name, for policy and for the next hop, with a type that Envoy has. */
const connectAuthority: Json = {
  name: 'connect_authority',
  typed_config: {
    '@type': 'type.googleapis.com/envoy.extensions.filters.http.set_filter_state.v3.Config',
    on_request_headers: [
      filterState('envoy.filters.listener.original_dst.local_ip', '%REQ(:AUTHORITY)%'),
      filterState('io.istio.connect_authority', '%REQ(:AUTHORITY)%', hashable),
      filterState('envoy.filters.listener.original_dst.remote_ip', '%DOWNSTREAM_REMOTE_ADDRESS%'),
      filterState('io.istio.peer_principal', '%DOWNSTREAM_PEER_URI_SAN%', hashable),
      filterState('io.istio.local_principal', '%DOWNSTREAM_LOCAL_URI_SAN%', hashable),
    ],
  },
};

const configPatches: readonly Json[] = [
  httpFilter('waypoint_downstream_peer_metadata', gone),
  httpFilter('waypoint_upstream_peer_metadata', gone),
  httpFilter('istio.alpn', gone),
  httpFilter('istio.stats', gone),
  httpFilter('connect_authority', { operation: 'REPLACE', value: connectAuthority }),
  networkFilter('istio.stats', gone),
  // For double HBONE between networks.
  {
    applyTo: 'LISTENER',
    match: { context: 'ANY', listener: { name: 'inner_connect_originate' } },
    patch: gone,
  },
];

/**
 * Together with `PILOT_ENABLE_METADATA_EXCHANGE=false` removes from istiod's configuration of waypoints, gateways and
 * sidecars the parts that Envoy's own build refuses: peer metadata, Istio's metrics, and the sidecars' ALPN filter.
 */
export function plainEnvoyFilters(): Manifest[] {
  const filter = (name: string, spec: Json): Manifest => ({
    apiVersion: 'networking.istio.io/v1alpha3',
    kind: 'EnvoyFilter',
    metadata: { name, namespace: 'istio-system' } as Manifest['metadata'],
    spec: { ...spec, configPatches },
  });
  const waypoints = { group: 'gateway.networking.k8s.io', kind: 'GatewayClass', name: 'istio-waypoint' };
  return [filter('plain-envoy-waypoints', { targetRefs: [waypoints] }), filter('plain-envoy', {})];
}
