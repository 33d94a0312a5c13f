import { DnsProxy } from '@kmesh/dns';
import type { MeshState } from '@kmesh/orchestration';
import type { Config } from '../config/config.ts';
import type { DaemonLog, Scrape } from './telemetry.ts';

/** Inputs of the DNS proxy. */
interface DnsInputs {
  readonly config: Config;
  readonly state: MeshState;
  readonly log: DaemonLog;
  readonly scrape: Scrape;
  /** Requests a resource from the control plane; used only with `XDS_ON_DEMAND`. */
  readonly demand: (name: string) => Promise<void>;
}

/**
 * Starts the pods' DNS proxy, or returns `undefined` with `ISTIO_META_DNS_CAPTURE` off. The data plane adds the pods.
 */
export function startDns({ config, state, log, scrape, demand }: DnsInputs): DnsProxy | undefined {
  if (!config.dnsProxyEnabled) return undefined;
  return new DnsProxy({
    mesh: state,
    settings: {
      clusterDomain: config.clusterDomain,
      preferredNamespace: config.preferredServiceNamespace,
      ipv6: config.ipv6Enabled,
      mark: config.packetMark,
      portReuse: config.inpodPortReuse,
      address: config.dnsProxyAddress,
      resolvConf: config.resolvConf,
      ownSearch: config.proxyMode === 'dedicated',
    },
    logger: log.logger.child('dns'),
    logsQueries: () => log.filter.enabled('dns', 'debug'),
    recorder: () => scrape.server.recorderChannel(),
    demand: config.xdsOnDemand ? demand : undefined,
  });
}
