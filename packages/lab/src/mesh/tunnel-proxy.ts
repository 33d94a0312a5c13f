/** One node's tunnel in a separate process, without a daemon; controlled by IPC messages. */
import type { MeshUpdate } from '@kmesh/api';
import { openNetworkNamespace } from '@kmesh/linux';
import { formatIdentityUri, MeshState } from '@kmesh/orchestration';
import {
  type ConnectionObserver,
  createConnectionObserver,
  MetricRecorder,
  silentObserver,
  startScrapeServer,
} from '@kmesh/probe';
import { createTunnel, type TunnelCertificate } from '@kmesh/tunnel';

/** First message of the parent. */
export interface TunnelProxyStart {
  readonly node: string;
  readonly updates: readonly MeshUpdate[];
  readonly certificates: Readonly<Record<string, TunnelCertificate>>;
  readonly pods: readonly {
    readonly uid: string;
    readonly name: string;
    readonly namespace: string;
    readonly serviceAccount: string;
    readonly path: string;
  }[];
  /** If set, counts connections for a scrape server on loopback, in addition to this number of other series. */
  readonly series?: number;
}

/** Starts a scrape server and its observer, with at least `series` series of other workloads. */
async function startMetrics(
  mesh: MeshState,
  series: number,
): Promise<{ observer: ConnectionObserver; port: number }> {
  const scrape = await startScrapeServer({ host: '127.0.0.1', port: 0, maximumSeries: 1_000_000 });
  const recorder = new MetricRecorder(scrape.recorderChannel());
  const observer = createConnectionObserver({ recorder });
  const [pattern] = mesh.workloads();
  if (pattern === undefined) throw new Error('the mesh has no workload');
  // A connection's label sets are at least 13 lines.
  for (let index = 0; index < series / 13; index++) {
    const source = { ...pattern, uid: `other-${index}`, workloadName: `other-${index}` };
    const addresses = { sourceAddress: '10.255.0.1:41000', destinationAddress: '10.255.0.2:8080' };
    const start = { reporter: 'source', path: 'tunnel', securityPolicy: 'mutual_tls', ...addresses } as const;
    observer
      .opened({ ...start, source, destination: pattern })
      .close({ flag: '-', bytesFromClient: index, bytesFromServer: index });
  }
  return { observer, port: scrape.port };
}

process.once('message', async (start: TunnelProxyStart) => {
  const mesh = new MeshState({ node: start.node });
  mesh.apply(start.updates);
  const metrics = start.series === undefined ? undefined : await startMetrics(mesh, start.series);
  const issued = (identity: Parameters<typeof formatIdentityUri>[0]): TunnelCertificate => {
    const certificate = start.certificates[formatIdentityUri(identity)];
    if (certificate === undefined) throw new Error(`no certificate for ${formatIdentityUri(identity)}`);
    return certificate;
  };
  const tunnel = createTunnel({
    mesh,
    node: { node: start.node, network: '', clusterId: 'Kubernetes' },
    certificates: { current: issued, certificate: async (identity) => issued(identity) },
    observer: metrics?.observer ?? silentObserver,
    logger: { error: console.error, warn: console.error, info: () => undefined, debug: () => undefined },
    settings: { mark: 1337 },
  });
  for (const { uid, path, ...info } of start.pods) tunnel.addPod(uid, info, openNetworkNamespace(path));
  process.send?.('ready');
  process.on('message', (message) => {
    if (message === 'metrics port') process.send?.(metrics?.port);
    if (message === 'usage') {
      process.send?.({ memory: process.memoryUsage().rss, connections: tunnel.connectionCount });
    }
  });
  process.once('disconnect', () => process.exit(0));
});
