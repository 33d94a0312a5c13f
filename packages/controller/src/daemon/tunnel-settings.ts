import type { TunnelSettings } from '@kmesh/tunnel';
import type { Config } from '../config/config.ts';

/** The tunnel's part of the configuration. */
export function tunnelSettings(config: Config, descriptors: number): TunnelSettings {
  return {
    threads: config.workerThreads,
    mark: config.packetMark,
    portReuse: config.inpodPortReuse,
    ipv6: config.ipv6Enabled,
    originalSource: config.originalSource,
    localhostApplicationTunnel: config.localhostAppTunnel,
    responseBaggage: config.responseBaggageEnabled,
    illegalPorts: new Set(config.illegalPorts),
    http2: config.http2,
    pool: {
      maximumStreams: config.poolMaxStreamsPerConnection,
      releaseMilliseconds: config.poolUnusedReleaseMilliseconds,
    },
    keepalive: config.keepalive,
    tls12: config.tls12Enabled,
    postQuantumOnly: config.postQuantumOnly,
    policyInfoLogging: config.policyInfoLogging,
    share: { descriptors, perPod: config.podDescriptors },
    socks5: config.socks5Enabled,
  };
}
