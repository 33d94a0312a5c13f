export type {
  ConnectionsView,
  HookCost,
  Overview,
  OverviewConnection,
  OverviewLimit,
  OverviewRoute,
  OverviewService,
  RefusalReason,
  TableEntry,
  TablesPod,
  TablesView,
  TableUsage,
  Why,
  WhyOutcome,
  WhyStep,
  WhyStepKind,
} from './admin-views.ts';
export { type BackoffSettings, backoffMilliseconds, doubledWait, spreadWait } from './backoff.ts';
export * as caProto from './codecs/certificate.ts';
export * as routeProto from './codecs/route.ts';
export * as securityProto from './codecs/security.ts';
export * as workloadProto from './codecs/workload.ts';
export * as xds from './codecs/xds.ts';
export * as zdsProto from './codecs/zds.ts';
export { exitCode, isKmeshError, KmeshError, type KmeshErrorCode } from './errors.ts';
export { LargeMap } from './large-map.ts';
export type { LogFields, Logger, LogLevel } from './logger.ts';
export type {
  ApplicationTunnel,
  Endpoint,
  GatewayAddress,
  GatewayDestination,
  HealthPolicy,
  HealthStatus,
  Identity,
  IpFamilies,
  LoadBalancer,
  LoadBalancerMode,
  Locality,
  LocalityScope,
  MeshUpdate,
  NetworkAddress,
  NetworkCidr,
  NetworkMode,
  PodInfo,
  Policy,
  PolicyAction,
  PolicyMatch,
  PolicyScope,
  PortMap,
  Route,
  RouteBackend,
  RouteMatch,
  RouteRule,
  Service,
  ServiceAccountMatcher,
  StringMatcher,
  TunnelProtocol,
  Visibility,
  WeightedWaypoint,
  Workload,
  WorkloadType,
} from './model.ts';
