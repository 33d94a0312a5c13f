import { ILLEGAL_PORTS } from '@kmesh/orchestration';
import { kmeshHandoffKeyLayout, kmeshHandoffLayout, kmeshPickLayout } from '@kmesh/runtime';
import type { NativeTunnelConfig } from './engine/native.ts';
import type { HandoffTable, TunnelSettings } from './options.ts';
import type { ShareLimits } from './pod/descriptor-share.ts';

/** {@link TunnelSettings} with the contract's defaults. */
export interface ResolvedSettings {
  readonly threads: number;
  readonly mark: number | undefined;
  readonly portReuse: boolean;
  readonly ipv6: boolean;
  readonly originalSource: boolean | undefined;
  readonly localhostApplicationTunnel: boolean;
  readonly responseBaggage: boolean;
  readonly illegalPorts: ReadonlySet<number>;
  readonly maximumStreams: number;
  readonly releaseMilliseconds: number;
  readonly connectTimeoutMilliseconds: number;
  readonly ownWaitMilliseconds: number;
  readonly share: ShareLimits;
  readonly tls12: boolean;
  readonly postQuantumOnly: boolean;
  readonly policyInfoLogging: boolean;
  readonly progressMilliseconds: number;
  readonly ports: { readonly outbound: number; readonly plaintext: number; readonly hbone: number };
}

const SOCKS5_PORT = 15080;

/** Fills in the defaults of ambient contract 2.2 and 6. */
export function resolveSettings(settings: TunnelSettings): ResolvedSettings {
  const illegal = settings.illegalPorts ?? ILLEGAL_PORTS;
  return {
    threads: Math.max(1, settings.threads ?? 1),
    mark: settings.mark,
    portReuse: settings.portReuse ?? true,
    ipv6: settings.ipv6 ?? true,
    originalSource: settings.originalSource,
    localhostApplicationTunnel: settings.localhostApplicationTunnel ?? true,
    responseBaggage: settings.responseBaggage ?? true,
    illegalPorts: settings.socks5 === true ? new Set([...illegal, SOCKS5_PORT]) : illegal,
    maximumStreams: settings.pool?.maximumStreams ?? 100,
    releaseMilliseconds: settings.pool?.releaseMilliseconds ?? 300_000,
    connectTimeoutMilliseconds: settings.connectTimeoutMilliseconds ?? 10_000,
    ownWaitMilliseconds: settings.ownWaitMilliseconds ?? 5_000,
    share: settings.share ?? { descriptors: Number.MAX_SAFE_INTEGER, perPod: undefined },
    tls12: settings.tls12 ?? false,
    postQuantumOnly: settings.postQuantumOnly ?? false,
    policyInfoLogging: settings.policyInfoLogging ?? false,
    progressMilliseconds: settings.progressMilliseconds ?? 2_000,
    ports: settings.ports ?? { outbound: 15001, plaintext: 15006, hbone: 15008 },
  };
}

/** Returns the native side's settings. A table of another layout is not used: its connections are refused. */
export function engineConfig(
  settings: TunnelSettings,
  handoffs?: HandoffTable,
  picks?: HandoffTable,
): NativeTunnelConfig {
  const config: NativeTunnelConfig = {};
  if (handoffs?.keySize === kmeshHandoffKeyLayout.size && handoffs.valueSize === kmeshHandoffLayout.size)
    config.handoffTable = handoffs.fd;
  if (picks?.keySize === kmeshHandoffKeyLayout.size && picks.valueSize === kmeshPickLayout.size)
    config.pickTable = picks.fd;
  const { http2, keepalive } = settings;
  if (settings.mark !== undefined) config.mark = settings.mark;
  if (settings.stallMilliseconds !== undefined) config.stallMs = settings.stallMilliseconds;
  if (http2?.streamWindowBytes !== undefined) config.streamWindow = http2.streamWindowBytes;
  if (http2?.connectionWindowBytes !== undefined) config.connectionWindow = http2.connectionWindowBytes;
  if (http2?.frameBytes !== undefined) config.frameSize = http2.frameBytes;
  if (http2?.serverStreams !== undefined) config.serverStreams = http2.serverStreams;
  if (http2?.pingIntervalMilliseconds !== undefined) config.pingIntervalMs = http2.pingIntervalMilliseconds;
  if (http2?.pingTimeoutMilliseconds !== undefined) config.pingTimeoutMs = http2.pingTimeoutMilliseconds;
  if (keepalive !== undefined) {
    config.keepaliveTimeS = keepalive.enabled ? keepaliveSeconds(keepalive.timeMilliseconds) : 0;
    config.keepaliveIntervalS = keepaliveSeconds(keepalive.intervalMilliseconds);
    config.keepaliveRetries = keepalive.retries;
    if (keepalive.userTimeoutEnabled) {
      config.userTimeoutMs = Math.min(
        0x7fff_ffff,
        keepalive.timeMilliseconds + keepalive.retries * keepalive.intervalMilliseconds,
      );
    }
  }
  return config;
}

/** Returns whole seconds in the range that the kernel accepts for TCP_KEEPIDLE and TCP_KEEPINTVL. */
function keepaliveSeconds(milliseconds: number): number {
  return Math.min(32_767, Math.max(1, Math.round(milliseconds / 1000)));
}
