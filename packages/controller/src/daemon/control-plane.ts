import type { Logger } from '@kmesh/api';
import type { MeshState } from '@kmesh/orchestration';
import type { ControlMetrics } from '@kmesh/probe';
import { CertificateClient } from '../certificates/certificate-client.ts';
import { CertificateManager } from '../certificates/certificate-manager.ts';
import { CertificatePrefetch } from '../certificates/certificate-prefetch.ts';
import type { Config } from '../config/config.ts';
import type { IstiodThread } from '../istiod/thread.ts';
import { createXdsClient, type XdsClient } from '../xds/client.ts';

/** Callbacks of the xDS client. */
interface SyncListener {
  /** Called when the first response of every subscribed type has been applied (ambient contract 2.6). */
  synced(): void;
  /** Resolves when the applied state is in force everywhere; the answer to the control plane waits for it. */
  obeyed(): Promise<void>;
}

/** The thread of the connection, and a promise that resolves when the mesh state's subscribers are ready. */
interface XdsTiming {
  readonly thread: IstiodThread;
  readonly receiveAfter: Promise<void>;
}

/** Starts the xDS client, or returns `undefined` when xDS is off. */
export function startXds(
  config: Config,
  state: MeshState,
  logger: Logger,
  { thread, receiveAfter, ...listener }: SyncListener & XdsTiming,
): XdsClient | undefined {
  if (config.xdsAddress === undefined) return undefined;
  const awaited = new Set(
    config.xdsOnDemand
      ? ['type.googleapis.com/istio.security.Authorization']
      : ['type.googleapis.com/istio.workload.Address', 'type.googleapis.com/istio.security.Authorization'],
  );
  return createXdsClient(
    {
      controlPlane: {
        address: config.xdsAddress,
        rootCa: config.xdsRootCa,
        alternativeHostname: config.alternativeXdsHostname,
        token: config.authToken,
        clusterId: config.clusterId,
        headers: config.xdsHeaders,
        tls12Enabled: config.tls12Enabled,
        postQuantumOnly: config.postQuantumOnly,
      },
      node: {
        instanceIp: config.instanceIp,
        podName: config.podName,
        podNamespace: config.podNamespace,
        nodeName: config.nodeName,
        metadata: config.metadata,
      },
      onDemand: config.xdsOnDemand,
      routes: true,
      clusterDomain: config.clusterDomain,
      logger,
      thread,
      receiveAfter,
    },
    {
      apply: (updates) => {
        state.apply(updates);
      },
      applied: async (typeUrl, accepted) => {
        // Before the answer: putting the state in force may need the pods, which are added after the first sync.
        if (accepted && awaited.delete(typeUrl) && awaited.size === 0) listener.synced();
        if (awaited.size === 0) await listener.obeyed();
      },
    },
  );
}

/** The certificate manager of this node's workloads, with its prefetch. */
interface Certificates {
  readonly manager: CertificateManager;
  close(): void;
}

/** Starts the certificate manager and, in shared mode, the prefetch that follows the mesh (ambient contract 5). */
export function startCertificates(
  config: Config,
  state: MeshState,
  logger: Logger,
  thread: IstiodThread,
): Certificates {
  const client = new CertificateClient({
    controlPlane: {
      address: config.caAddress,
      rootCa: config.caRootCa,
      alternativeHostname: config.alternativeCaHostname,
      token: config.authToken,
      clusterId: config.clusterId,
      headers: config.caHeaders,
      tls12Enabled: config.tls12Enabled,
      postQuantumOnly: config.postQuantumOnly,
    },
    lifetimeSeconds: Math.max(1, Math.round(config.secretTtlMilliseconds / 1000)),
    impersonate: config.proxyMode === 'shared',
    logger,
    thread,
  });
  const manager = new CertificateManager({ source: client.source, logger });
  const prefetch =
    config.proxyMode === 'shared'
      ? new CertificatePrefetch({ manager, logger, node: config.nodeName })
      : undefined;
  const unsubscribe = prefetch?.follow(state);
  return {
    manager,
    close: () => {
      unsubscribe?.();
      prefetch?.close();
      manager.close();
      client.close();
    },
  };
}

/**
 * Returns a function that adds the xDS client's counts since its last call to the metrics; called before each scrape.
 */
export function xdsCountersFollower(client: XdsClient, metrics: ControlMetrics): () => void {
  const seen = {
    terminations: new Map<string, number>(),
    messages: new Map<string, number>(),
    bytes: new Map<string, number>(),
  };
  return () => {
    const { terminations, messages, messageBytes } = client.counters;
    for (const [reason, count] of Object.entries(terminations) as [keyof typeof terminations, number][]) {
      for (let done = seen.terminations.get(reason) ?? 0; done < count; done++) metrics.xdsTerminated(reason);
      seen.terminations.set(reason, count);
    }
    for (const [url, count] of messages) {
      let bytes = (messageBytes.get(url) ?? 0) - (seen.bytes.get(url) ?? 0);
      for (let done = seen.messages.get(url) ?? 0; done < count; done++) {
        metrics.xdsMessage(url, bytes);
        bytes = 0;
      }
      seen.messages.set(url, count);
      seen.bytes.set(url, messageBytes.get(url) ?? 0);
    }
  };
}
