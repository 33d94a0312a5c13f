export { Engine, type JoinCounts } from './engine/engine.ts';
export { loadJoinPrograms } from './engine/join-programs.ts';
export { nativeTunnel } from './engine/native.ts';
export { ConnectionTracker } from './inbound/connection-tracker.ts';
export { proxyHeader } from './inbound/proxy-protocol.ts';
export type {
  CertificateSource,
  HandoffTable,
  JoinPrograms,
  RevocationSource,
  TunnelCertificate,
  TunnelCounters,
  TunnelSettings,
} from './options.ts';
export { resolveSettings } from './settings.ts';
export { createTunnel, Tunnel } from './tunnel.ts';
