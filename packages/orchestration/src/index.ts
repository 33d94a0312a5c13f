export {
  type Authorization,
  type AuthorizationConnection,
  type AuthorizationNote,
  type AuthorizationReason,
  authorize,
  candidatePolicies,
  describeAuthorization,
} from './policy/authorize.ts';
export { isEmptyMatch } from './policy/compiled-policy.ts';
export { formatIdentityUri, formatPrincipal, identityUriOf, parseIdentity } from './policy/identity.ts';
export { matchesString } from './policy/match.ts';
export * from './routing/address-choice.ts';
export { drawWeighted, eligibleCandidates } from './routing/balance.ts';
export * from './routing/candidates.ts';
export * from './routing/failure.ts';
export * from './routing/headers/authority.ts';
export * from './routing/headers/baggage.ts';
export * from './routing/headers/connect-headers.ts';
export * from './routing/headers/forwarded.ts';
export type { HeaderValue } from './routing/headers/header-value.ts';
export * from './routing/inbound.ts';
export * from './routing/inbound-service.ts';
export * from './routing/locality.ts';
export * from './routing/lookup.ts';
export { type OutboundOptions, type OutboundRequest, resolveOutbound } from './routing/outbound.ts';
export { withResolvedAddress } from './routing/outbound-address.ts';
export type * from './routing/outbound-decision.ts';
export { acceptedIdentities, serviceIdentities, type Upstream } from './routing/upstream.ts';
export {
  allServiceWaypoints,
  chooseServiceWaypoint,
  isCallFromWaypoint,
  serviceWaypoints,
} from './routing/waypoint.ts';
export { emptyChange, isEmptyChange } from './state/change.ts';
export * from './state/ip.ts';
export { MeshState, type MeshStateOptions, policyKey, serviceKey } from './state/mesh-state.ts';
export type * from './state/mesh-view.ts';
export { monotonicNanoseconds, RECORDS_KEPT, RecentRecords } from './state/recent-records.ts';
export { Slicer } from './state/slicer.ts';
export {
  WORKLOAD_WAIT_MILLISECONDS,
  type WorkloadWaitOptions,
  waitForWorkload,
} from './state/wait-for-workload.ts';
export * from './tables/index.ts';
