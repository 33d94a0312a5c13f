export {
  type Authorization,
  type AuthorizationConnection,
  authorize,
  candidatePolicies,
  describeAuthorization,
} from './policy/authorize.ts';
export { formatIdentityUri, formatPrincipal, identityUriOf, parseIdentity } from './policy/identity.ts';
export { matchesString } from './policy/match.ts';
export { chooseAddress, chooseResolvedAddress } from './routing/address-choice.ts';
export { drawWeighted, eligibleCandidates } from './routing/balance.ts';
export { type Candidate, candidatesOf, targetPortOf } from './routing/candidates.ts';
export { ILLEGAL_PORTS, type SocketTarget } from './routing/failure.ts';
export { type Authority, formatAuthority, parseAuthority } from './routing/headers/authority.ts';
export { type Baggage, formatBaggage, parseBaggage } from './routing/headers/baggage.ts';
export { formatForwarded, forwardedHost } from './routing/headers/forwarded.ts';
export { INBOUND_STATUS, type InboundAccepted, refusePlaintext, resolveInbound } from './routing/inbound.ts';
export { inboundService, inboundSourceWorkload, servicesOfWorkload } from './routing/inbound-service.ts';
export { localityRank } from './routing/locality.ts';
export { bestServiceByHostname, bestServiceByVip, findByAddress, findByHostname } from './routing/lookup.ts';
export { resolveOutbound } from './routing/outbound.ts';
export { withResolvedAddress } from './routing/outbound-address.ts';
export type {
  DoubleHboneDecision,
  HboneDecision,
  OutboundDecision,
  TcpDecision,
} from './routing/outbound-decision.ts';
export { emptyChange } from './state/change.ts';
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
export { MeshState, policyKey, serviceKey } from './state/mesh-state.ts';
export type { MeshChange, MeshHistory, MeshView, NodeContext } from './state/mesh-view.ts';
export { monotonicNanoseconds, RECORDS_KEPT } from './state/recent-records.ts';
export { Slicer } from './state/slicer.ts';
export { waitForWorkload } from './state/wait-for-workload.ts';
export {
  attachKernelObject,
  attachRedirect,
  type ConnectReason,
  entryTableOf,
  type FrontendEntry,
  HandoffPodTable,
  type KernelCapacities,
  type KernelProgram,
  KernelTables,
  kernelMapsOf,
  kernelPathObstacles,
  kernelPrograms,
  kmeshCloseReason,
  kmeshDirection,
  kmeshEventKind,
  kmeshEventLayout,
  kmeshHandoffKeyLayout,
  kmeshHandoffLayout,
  kmeshPath,
  kmeshSettingsLayout,
  LiveFlowTable,
  liveFlowsObstacles,
  loadKernelObject,
  PodAddressTable,
  PodTable,
  pathOfReason,
  pinnedLayouts,
  type RedirectCounts,
  readConnectCounters,
  readPerCpuCounters,
  readRedirectCounts,
  redirectAttachments,
  redirectObstacles,
  type TableUsage,
} from './tables/index.ts';
