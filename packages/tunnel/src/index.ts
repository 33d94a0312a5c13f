export { Engine, type JoinCounts, type SessionHandler } from './engine/engine.ts';
export { type Accepted, flowEndReason, revokedVerdict, sessionEndReason } from './engine/events.ts';
export { loadJoinPrograms } from './engine/join-programs.ts';
export { flowFailure, sessionFailure } from './failure.ts';
export { ConnectionTracker } from './inbound/connection-tracker.ts';
export { proxyHeader } from './inbound/proxy-protocol.ts';
export type {
  CertificateSource,
  HandoffTable,
  JoinPrograms,
  PodInfo,
  RevocationSource,
  TunnelCertificate,
  TunnelCounters,
  TunnelSettings,
} from './options.ts';
export { type PooledSession, type PoolTarget, SessionPool } from './outbound/pool.ts';
export { resolveSettings } from './settings.ts';
export { createTunnel, Tunnel } from './tunnel.ts';
export { ZdsClient } from './zds/client.ts';
export type { ZdsCounts, ZdsPods } from './zds/pod-register.ts';
