/** One node's tunnel in a process of its own, without a daemon around it: told over IPC what to serve. */
import type { MeshUpdate } from '@kmesh/api';
import { formatIdentityUri, MeshState } from '@kmesh/orchestration';
import { silentObserver } from '@kmesh/probe';
import { openNetworkNamespace } from '@kmesh/runtime';
import { createTunnel, type TunnelCertificate } from '@kmesh/tunnel';

/** What the parent sends first. */
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
}

process.once('message', (start: TunnelProxyStart) => {
  const mesh = new MeshState({ node: start.node });
  mesh.apply(start.updates);
  const issued = (identity: Parameters<typeof formatIdentityUri>[0]): TunnelCertificate => {
    const certificate = start.certificates[formatIdentityUri(identity)];
    if (certificate === undefined) throw new Error(`no certificate for ${formatIdentityUri(identity)}`);
    return certificate;
  };
  const tunnel = createTunnel({
    mesh,
    node: { node: start.node, network: '', clusterId: 'Kubernetes' },
    certificates: { current: issued, certificate: async (identity) => issued(identity) },
    observer: silentObserver,
    logger: { error: console.error, warn: console.error, info: () => undefined, debug: () => undefined },
    settings: { mark: 1337 },
  });
  for (const { uid, path, ...info } of start.pods) tunnel.addPod(uid, info, openNetworkNamespace(path));
  process.send?.('ready');
  process.on('message', (message) => {
    if (message === 'usage') {
      process.send?.({ memory: process.memoryUsage().rss, connections: tunnel.connectionCount });
    }
  });
  process.once('disconnect', () => process.exit(0));
});
