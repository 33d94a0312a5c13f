import { istio } from '../gen/virtual-service.js';
import { codec } from './codec.ts';

/** Wire messages of routes (docs/routes.md): a `VirtualService` in the envelope of the control plane. */
export const Resource = codec(istio.mcp.v1alpha1.Resource);
export type Metadata = istio.mcp.v1alpha1.Metadata.$Properties;
export const VirtualService = codec(istio.networking.v1alpha3.VirtualService);
export type VirtualService = istio.networking.v1alpha3.VirtualService.$Properties;
export type HTTPRoute = istio.networking.v1alpha3.HTTPRoute.$Properties;
export type HTTPMatchRequest = istio.networking.v1alpha3.HTTPMatchRequest.$Properties;
export type TCPRoute = istio.networking.v1alpha3.TCPRoute.$Properties;
export type L4MatchAttributes = istio.networking.v1alpha3.L4MatchAttributes.$Properties;
export type RouteDestination = istio.networking.v1alpha3.RouteDestination.$Properties;
