import type { Manifest } from '../api/api.ts';

/** A waypoint that istiod deploys and configures, for services' traffic or for that to pods' own addresses. */
export function waypoint(
  name: string,
  { namespace, traffic }: { readonly namespace: string; readonly traffic: 'service' | 'workload' },
): Manifest {
  return {
    apiVersion: 'gateway.networking.k8s.io/v1',
    kind: 'Gateway',
    metadata: { name, namespace, labels: { 'istio.io/waypoint-for': traffic } } as Manifest['metadata'],
    spec: {
      gatewayClassName: 'istio-waypoint',
      listeners: [{ name: 'mesh', port: 15008, protocol: 'HBONE' }],
    },
  };
}

/** Sets a waypoint's limit of request headers in KiB; Envoy's default is 60. */
export function largeHeaders(name: string, namespace: string, kib: number): Manifest {
  return {
    apiVersion: 'networking.istio.io/v1alpha3',
    kind: 'EnvoyFilter',
    metadata: { name: 'large-headers', namespace } as Manifest['metadata'],
    spec: {
      targetRefs: [{ group: 'gateway.networking.k8s.io', kind: 'Gateway', name }],
      configPatches: [
        {
          applyTo: 'NETWORK_FILTER',
          match: {
            context: 'SIDECAR_INBOUND',
            listener: { filterChain: { filter: { name: 'envoy.filters.network.http_connection_manager' } } },
          },
          patch: {
            operation: 'MERGE',
            value: {
              typed_config: {
                '@type':
                  'type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager',
                max_request_headers_kb: kib,
              },
            },
          },
        },
      ],
    },
  };
}
