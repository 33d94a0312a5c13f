export {
  type Authorization,
  type AuthorizationConnection,
  authorize,
  candidatePolicies,
  describeAuthorization,
} from './policy/authorize.ts';
export { certainlyAllowed, enforcedPolicies, portsOfPolicies } from './policy/certainly-allowed.ts';
export { formatIdentityUri, formatPrincipal, identityUriOf, parseIdentity } from './policy/identity.ts';
export { chooseResolvedAddress } from './routing/address-choice.ts';
export { eligibleCandidates } from './routing/balance.ts';
export { type Candidate, candidatesOf } from './routing/candidates.ts';
export { ILLEGAL_PORTS, type SocketTarget } from './routing/failure.ts';
export { type Baggage, formatBaggage, parseBaggage } from './routing/headers/baggage.ts';
export { formatForwarded, forwardedHost } from './routing/headers/forwarded.ts';
export { INBOUND_STATUS, type InboundAccepted, refusePlaintext, resolveInbound } from './routing/inbound.ts';
export { inboundService, inboundSourceWorkload, servicesOfWorkload } from './routing/inbound-service.ts';
export type { LocalitySource } from './routing/locality.ts';
export { bestServiceByCidr, bestServiceByVip } from './routing/lookup.ts';
export { resolveOutbound } from './routing/outbound.ts';
export { withResolvedAddress } from './routing/outbound-address.ts';
export type {
  DoubleHboneDecision,
  HboneDecision,
  OutboundDecision,
  TcpDecision,
} from './routing/outbound-decision.ts';
export { serviceWaypoints } from './routing/waypoint.ts';
export { addChange, type ChangeDraft, emptyChange } from './state/change.ts';
export {
  canonicalCidr,
  canonicalIp,
  formatIp,
  formatSocketAddress,
  ipFamily,
  maskIp,
  type ParsedIp,
  parseCidr,
  parseIp,
} from './state/ip.ts';
export { MeshState, policyKey, serviceKey } from './state/mesh-state.ts';
export type { MeshChange, MeshHistory, MeshView, NodeContext } from './state/mesh-view.ts';
export { RECORDS_KEPT } from './state/recent-records.ts';
export { Slicer } from './state/slicer.ts';
export { waitForWorkload } from './state/wait-for-workload.ts';
