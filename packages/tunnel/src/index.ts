export { nativeTunnel } from './engine/native.ts';
export { ConnectionTracker } from './inbound/connection-tracker.ts';
export { proxyHeader } from './inbound/proxy-protocol.ts';
export type {
  CertificateSource,
  HandoffTable,
  RevocationSource,
  TunnelCertificate,
  TunnelCounters,
  TunnelOptions,
  TunnelSettings,
} from './options.ts';
export { resolveSettings } from './settings.ts';
export { createTunnel, Tunnel } from './tunnel.ts';
