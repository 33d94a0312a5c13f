export {
  type Authorization,
  type AuthorizationConnection,
  authorize,
  candidatePolicies,
  describeAuthorization,
} from './policy/authorize.ts';
export {
  certainlyAllowed,
  certainlyAllowedPorts,
  enforcedPolicies,
  policiesByPort,
} from './policy/certainly-allowed.ts';
export { formatIdentityUri, formatPrincipal, identityUriOf, parseIdentity } from './policy/identity.ts';
export { eligibleCandidates, type LocalitySource } from './routing/balance.ts';
export {
  type DoubleHboneDecision,
  type HboneDecision,
  ILLEGAL_PORTS,
  type OutboundDecision,
  type SocketTarget,
  type TcpDecision,
} from './routing/decision.ts';
export {
  type Baggage,
  formatBaggage,
  formatForwarded,
  forwardedHost,
  parseBaggage,
} from './routing/headers.ts';
export {
  INBOUND_STATUS,
  type InboundAccepted,
  inboundService,
  inboundSourceWorkload,
  refusePlaintext,
  resolveInbound,
  servicesOfWorkload,
} from './routing/inbound.ts';
export { bestServiceByCidr, bestServiceByVip } from './routing/lookup.ts';
export { resolveOutbound, withResolvedAddress } from './routing/outbound.ts';
export {
  GENERIC_NAMESPACE,
  type ResolvedBackend,
  routeNamespaces,
  routeOf,
  routeSignature,
  routeUseOf,
} from './routing/route.ts';
export { backendEndpoints, formatRoutePick, isRoutePick } from './routing/route-draw.ts';
export { reportRoute, reportRoutes } from './routing/route-report.ts';
export { type Candidate, candidatesOf, chooseResolvedAddress } from './routing/upstream.ts';
export { serviceWaypoints } from './routing/waypoint.ts';
export {
  canonicalCidr,
  canonicalIp,
  formatIp,
  formatSocketAddress,
  ipFamily,
  isLoopback,
  maskIp,
  type ParsedIp,
  parseCidr,
  parseIp,
} from './state/ip.ts';
export { MeshState, policyKey, routeKey, serviceKey, waitForWorkload } from './state/mesh-state.ts';
export type { MeshHistory, MeshView, NodeContext } from './state/mesh-view.ts';
export { addChange, type ChangeDraft, emptyChange, type MeshChange } from './state/mesh-view.ts';
export { RECORDS_KEPT } from './state/recent-records.ts';
export { Slicer } from './state/slicer.ts';
