import { envoy, google } from '../gen/discovery.js';
import { codec } from './codec.ts';

/** Delta xDS messages (docs/contract.md 3.3). */
export const DeltaDiscoveryRequest = codec(envoy.service.discovery.v3.DeltaDiscoveryRequest);
export type DeltaDiscoveryRequest = envoy.service.discovery.v3.DeltaDiscoveryRequest.$Properties;
export const DeltaDiscoveryResponse = codec(envoy.service.discovery.v3.DeltaDiscoveryResponse);
export type DeltaDiscoveryResponse = envoy.service.discovery.v3.DeltaDiscoveryResponse.$Properties;
export const Resource = codec(envoy.service.discovery.v3.Resource);
export type Resource = envoy.service.discovery.v3.Resource.$Properties;

export const Node = codec(envoy.config.core.v3.Node);
export type Node = envoy.config.core.v3.Node.$Properties;
export const Struct = codec(google.protobuf.Struct);
export type Struct = google.protobuf.Struct.$Properties;
export type Value = google.protobuf.Value.$Properties;

/** Resource types that a node proxy subscribes to, as on the wire. */
export const addressTypeUrl = 'type.googleapis.com/istio.workload.Address';
export const authorizationTypeUrl = 'type.googleapis.com/istio.security.Authorization';

/** Routes, as named by a control plane that sends configuration objects. */
export const virtualServiceTypeUrl = 'networking.istio.io/v1/VirtualService';

/** HTTP/2 path of the stream. */
export const deltaMethodPath =
  '/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources';

export {
  type RawResource,
  type ResponseHeader,
  readPiece,
  type SplitResponse,
  splitResponse,
} from './delta-response.ts';
