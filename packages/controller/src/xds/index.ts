export { Backoff, type RetryRule, type TerminationReason } from './backoff.ts';
export {
  createXdsClient,
  type XdsClient,
  type XdsClientOptions,
  type XdsSink,
  type XdsStatus,
} from './client.ts';
export {
  type ControlPlane,
  type ControlPlaneSettings,
  channelCredentials,
  grpcTarget,
  hostAndPort,
  requestMetadata,
  SettingError,
  tlsChannelOptions,
} from './control-plane.ts';
export type { XdsCounters } from './counters.ts';
export type { NodeIdentity } from './node.ts';
