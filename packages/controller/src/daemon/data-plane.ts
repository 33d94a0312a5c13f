import type { Logger, PodInfo, TablesPod, Workload } from '@kmesh/api';
import { DnsProxy } from '@kmesh/dns';
import type { NetworkNamespace } from '@kmesh/linux';
import type { MeshState } from '@kmesh/orchestration';
import type { ConnectionObserver } from '@kmesh/probe';
import type { KernelEnrolment } from '@kmesh/runtime';
import {
  createTunnel,
  type HandoffTable,
  type Tunnel,
  type TunnelCounters,
  type TunnelOptions,
  type TunnelSettings,
} from '@kmesh/tunnel';
import type { CertificateManager } from '../certificates/certificate-manager.ts';
import type { RevocationStore } from '../certificates/revocation-store.ts';
import type { Config } from '../config/config.ts';
import type { ZdsPods } from '../zds/pod-register.ts';
import type { DaemonLog, Scrape } from './telemetry.ts';

/** Parts of the data plane. */
interface DataPlaneOptions {
  readonly config: Config;
  /** Limit of file descriptors of the process. */
  readonly descriptors: number;
  readonly state: MeshState;
  readonly certificates: CertificateManager;
  readonly revocations: RevocationStore;
  readonly observer: ConnectionObserver;
  readonly counters: TunnelCounters;
  readonly logger: Logger;
  /** Absent without a kernel path. */
  readonly enrolment: KernelEnrolment | undefined;
  /** Table of connections that the connect hook handed off to the proxies. */
  readonly handoffs: HandoffTable | undefined;
  /** Absent with DNS capture off. The caller closes it. */
  readonly dns: DnsProxy | undefined;
  /** Endpoints that the connect hook drew for connections of the tunnel; absent without a kernel path. */
  readonly picks: TunnelOptions['picks'];
  /** Requests resources that a connection needs; absent unless `XDS_ON_DEMAND`. */
  readonly demand: TunnelOptions['demand'];
}

/** A served pod of this node. */
export interface ServedPod extends PodInfo {
  readonly uid: string;
}

/**
 * Serves the pods of this node on both paths. A pod is added to the tunnel first and then enrolled in the kernel
 * tables, so that connections that the kernel leaves to the tunnel find it ready; it is removed in the opposite order.
 */
export class DataPlane implements ZdsPods {
  readonly #tunnel: Tunnel;
  /** `ENABLE_PROXY`. */
  readonly #proxies: boolean;
  readonly #enrolment: KernelEnrolment | undefined;
  readonly #dns: DnsProxy | undefined;
  readonly #pods = new Map<string, ServedPod>();

  constructor(options: DataPlaneOptions) {
    const { config, state, logger } = options;
    this.#enrolment = options.enrolment;
    this.#proxies = config.proxyEnabled;
    this.#dns = options.dns;
    this.#tunnel = createTunnel({
      mesh: state,
      node: { node: config.nodeName, network: config.network, clusterId: config.clusterId },
      certificates: options.certificates,
      observer: options.observer,
      counters: options.counters,
      logger,
      settings: tunnelSettings(config, options.descriptors),
      revocations: options.revocations,
      handoffs: options.handoffs,
      picks: options.picks,
      demand: options.demand,
    });
    try {
      const dedicated = config.proxyMode === 'dedicated' ? config.proxyWorkload : undefined;
      if (dedicated !== undefined) this.#dns?.addPod('dedicated', dedicated, undefined);
      if (!this.#proxies) return;
      if (dedicated !== undefined) {
        this.#tunnel.addDedicated(dedicated);
      } else if (config.podName !== '' && config.podNamespace !== '' && config.serviceAccount !== '') {
        this.#serveSelf(config, state);
      }
    } catch (error) {
      this.#tunnel.close();
      throw error;
    }
  }

  /** Returns the pods that could not be started yet; set by the source of pods. */
  pending: () => readonly ServedPod[] = () => [];

  /** Returns the served pods. */
  list(): readonly ServedPod[] {
    return [...this.#pods.values()];
  }

  /** Returns the served pods as in the kernel tables; none without a kernel path. */
  kernelPods(): readonly TablesPod[] {
    return this.#enrolment?.pods() ?? [];
  }

  /** Returns the live connections of a pod on the tunnel path (ambient contract 13.7). */
  connections(uid: string): ReturnType<Tunnel['connections']> {
    return this.#tunnel.connections(uid);
  }

  servesIn(uid: string, namespace: NetworkNamespace): boolean {
    return this.#tunnel.servesIn(uid, namespace);
  }

  addPod(uid: string, info: PodInfo, namespace: NetworkNamespace): void {
    this.#addDns(uid, info, namespace);
    if (this.#proxies) {
      try {
        this.#tunnel.addPod(uid, info, namespace);
      } catch (error) {
        this.#dns?.removePod(uid);
        throw error;
      }
      this.#enrolment?.add(uid, info, namespace);
    } else {
      namespace.close();
    }
    this.#pods.set(uid, { uid, ...info });
  }

  removePod(uid: string): void {
    this.#pods.delete(uid);
    this.#enrolment?.remove(uid);
    this.#tunnel.removePod(uid);
    this.#dns?.removePod(uid);
  }

  /** Lets live connections finish, at most until the deadline (ambient contract 2.7). */
  async drain(deadlineMilliseconds: number): Promise<void> {
    await this.#enrolment?.endHandOver();
    await Promise.all([this.#tunnel.drain(deadlineMilliseconds), this.#dns?.drain(deadlineMilliseconds)]);
  }

  close(): void {
    this.#tunnel.close();
  }

  /** Adds a pod to the DNS proxy. The caller keeps ownership of the namespace; on failure it is closed. */
  #addDns(uid: string, info: PodInfo, namespace: NetworkNamespace): void {
    try {
      this.#dns?.addPod(uid, info, namespace);
    } catch (error) {
      namespace.close();
      throw error;
    }
  }

  /**
   * Serves port 15008 of the proxy itself, so that a mesh Prometheus can scrape it over mutual TLS (ambient contract
   * 2.4).
   */
  #serveSelf(config: Config, state: MeshState): void {
    const info = {
      name: config.podName,
      namespace: config.podNamespace,
      serviceAccount: config.serviceAccount,
    };
    const workload = (): Workload | undefined =>
      state.localWorkload(info.namespace, info.serviceAccount, info.name);
    this.#tunnel.addSelf(info, workload);
  }
}

/** Returns the tunnel's part of the configuration. */
function tunnelSettings(config: Config, descriptors: number): TunnelSettings {
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
