import { getServers } from 'node:dns';
import type { Config } from './config.ts';

/**
 * Returns the `config` object of the config dump (ambient contract 13.8), without token, inline mesh and inline root
 * certificates.
 */
export function configDump(config: Config): Record<string, unknown> {
  const wildcard = config.ipv6Enabled ? '[::]' : '0.0.0.0';
  const ownIdentity =
    config.podName !== '' && config.podNamespace !== '' && config.serviceAccount !== ''
      ? `spiffe://${config.trustDomain}/ns/${config.podNamespace}/sa/${config.serviceAccount}`
      : null;
  return {
    proxy: config.proxyEnabled,
    dnsProxy: config.dnsProxyEnabled,
    windowSize: config.http2.streamWindowBytes,
    connectionWindowSize: config.http2.connectionWindowBytes,
    frameSize: config.http2.frameBytes,
    poolMaxStreamsPerConn: config.poolMaxStreamsPerConnection,
    poolUnusedReleaseTimeout: seconds(config.poolUnusedReleaseMilliseconds),
    socks5Addr: config.socks5Enabled ? '127.0.0.1:15080' : null,
    adminAddr: `localhost:${config.adminPort}`,
    statsAddr: `${wildcard}:${config.statsPort}`,
    readinessAddr: `${wildcard}:${config.readinessPort}`,
    inboundAddr: `${wildcard}:15008`,
    inboundPlaintextAddr: `${wildcard}:15006`,
    outboundAddr: `${wildcard}:15001`,
    dnsProxyAddr: `${config.dnsProxyAddress.host}:${config.dnsProxyAddress.port}`,
    illegalPorts: config.illegalPorts,
    network: config.network,
    localNode: config.nodeName,
    proxyMode: config.proxyMode === 'shared' ? 'Shared' : 'Dedicated',
    proxyWorkloadInformation: config.proxyWorkload ?? null,
    clusterId: config.clusterId,
    clusterDomain: config.clusterDomain,
    caAddress: config.caAddress,
    caRootCert: rootCertificate(config.caRootCa),
    altCaHostname: config.alternativeCaHostname ?? null,
    xdsAddress: config.xdsAddress ?? null,
    xdsRootCert: rootCertificate(config.xdsRootCa),
    altXdsHostname: config.alternativeXdsHostname ?? null,
    preferedServiceNamespace: config.preferredServiceNamespace ?? null,
    secretTtl: seconds(config.secretTtlMilliseconds),
    xdsOnDemand: config.xdsOnDemand,
    fakeCa: false,
    fakeSelfInbound: false,
    selfTerminationDeadline: seconds(config.drainMilliseconds),
    proxyMetadata: config.metadata,
    numWorkerThreads: config.workerThreads,
    requireOriginalSource: config.originalSource ?? null,
    proxyArgs: config.proxyArguments,
    dnsResolverCfg: { nameServers: getServers() },
    dnsResolverOpts: {},
    inpodUds: config.zdsSocket,
    inpodPortReuse: config.inpodPortReuse,
    packetMark: config.packetMark ?? null,
    socketConfig: {
      keepaliveTime: seconds(config.keepalive.timeMilliseconds),
      keepaliveInterval: seconds(config.keepalive.intervalMilliseconds),
      keepaliveRetries: config.keepalive.retries,
      keepaliveEnabled: config.keepalive.enabled,
      userTimeoutEnabled: config.keepalive.userTimeoutEnabled,
    },
    xdsHeaders: Object.keys(config.xdsHeaders),
    caHeaders: Object.keys(config.caHeaders),
    localhostAppTunnel: config.localhostAppTunnel,
    ztunnelIdentity: ownIdentity,
    ztunnelWorkload:
      ownIdentity === null
        ? null
        : { name: config.podName, namespace: config.podNamespace, serviceAccount: config.serviceAccount },
    ipv6Enabled: config.ipv6Enabled,
    crlPath: config.crlPath ?? null,
    enableEnhancedBaggage: config.responseBaggageEnabled,
  };
}

function seconds(milliseconds: number): string {
  return milliseconds % 1000 === 0 ? `${milliseconds / 1000}s` : `${milliseconds}ms`;
}

function rootCertificate(setting: string): string {
  return setting.includes('-----BEGIN') ? 'inline' : setting;
}
