export {
  Engine,
  type EngineConnect,
  type FlowHandler,
  type ListenerHandler,
  type SessionHandler,
} from './engine/engine.ts';
export * from './engine/events.ts';
export { type Failure, flowFailure, sessionFailure } from './failure.ts';
export { ConnectionTracker, type TrackedConnection } from './inbound/connection-tracker.ts';
export { proxyHeader } from './inbound/proxy-protocol.ts';
export type * from './options.ts';
export { type PoolAnswer, type PooledSession, type PoolTarget, SessionPool } from './outbound/pool.ts';
export { connectFields } from './outbound/request-fields.ts';
export type { CarriedDump } from './pod/carried.ts';
export { type ResolvedSettings, resolveSettings } from './settings.ts';
export { TlsContexts } from './tls/contexts.ts';
export { createTunnel, Tunnel } from './tunnel.ts';
export { ZdsClient, type ZdsClientOptions } from './zds/client.ts';
export type { ZdsCounts, ZdsPods } from './zds/pod-register.ts';
