import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import { identityUriOf } from '@kmesh/orchestration';
import type { TunnelCertificate } from '@kmesh/tunnel';
import { installRedirect } from '../../cni/redirect.ts';
import { tunnelProxyProgram } from '../../mesh/kmesh-program.ts';
import { workloadOf } from '../../mesh/records.ts';
import type { TunnelProxyStart } from '../../mesh/tunnel-proxy.ts';
import { createLab } from '../../network/lab.ts';
import { createAuthority } from '../../pki/authority.ts';
import type { Pod } from '../../pods/pod.ts';

/** Two nodes with the tunnel between a client and a server; the client's proxy has many series to be scraped. */
interface TunnelWorld extends AsyncDisposable {
  readonly metricsUrl: string;
  readonly metricsPort: number;
  /** Of the process that is scraped. */
  readonly scrapedPid: number;
  /** Of the server's proxy. */
  readonly otherPid: number;
  readonly client: Pod;
  readonly server: Pod;
  /** 99th percentile of the latency of requests through the tunnel, microseconds, at 500 per second. */
  latency(seconds: number): Promise<number>;
}

const paced = fileURLToPath(new URL('paced.ts', import.meta.url));

/** Starts the world with at least `series` series in addition to those of the traffic. */
export async function startTunnelWorld(series: number): Promise<TunnelWorld> {
  await using stack = new AsyncDisposableStack();
  const lab = await createLab();
  stack.defer(() => lab.close());
  const nodes = [await lab.node(), await lab.node()] as const;
  const client = await nodes[0].pod({ name: 'client' });
  const server = await nodes[1].pod({ name: 'server' });
  const authority = createAuthority();
  const workloads = [client, server].map((pod) => workloadOf(pod, { protocol: 'HBONE' }));
  const certificates = Object.fromEntries(
    workloads.map((workload) => {
      const uri = identityUriOf(workload);
      const { chainPem, privateKeyPem } = authority.issue({ uris: [uri] });
      const certificate: TunnelCertificate = {
        certificateChainPem: chainPem,
        privateKeyPem,
        rootsPem: [authority.rootPem],
      };
      return [uri, certificate];
    }),
  );
  const startProxy = async (node: string, pod: Pod, count: number): Promise<ChildProcess> => {
    const child = fork(tunnelProxyProgram, { serialization: 'advanced' });
    stack.defer(() => void child.kill('SIGKILL'));
    const { namespacePath, name, podNamespace, serviceAccount } = pod;
    const start: TunnelProxyStart = {
      node,
      updates: workloads.map((workload) => ({ kind: 'workload', workload })),
      certificates,
      pods: [{ uid: name, name, namespace: podNamespace, serviceAccount, path: namespacePath }],
      series: count,
    };
    child.send(start);
    await once(child, 'message');
    return child;
  };
  const near = await startProxy(nodes[0].name, client, series);
  const far = await startProxy(nodes[1].name, server, 0);
  for (const pod of [client, server]) await installRedirect(pod, { dns: false });
  await server.serve({ port: 8080, mode: 'http' });
  near.send('metrics port');
  const [port] = await once(near, 'message');
  const resources = stack.move();
  return {
    ...{ client, server },
    metricsUrl: `http://127.0.0.1:${port}/metrics`,
    metricsPort: port,
    scrapedPid: near.pid ?? 0,
    otherPid: far.pid ?? 0,
    async latency(seconds) {
      const to = [server.addresses.v4, '8080', '500', `${seconds}`];
      const { stdout } = await client.run(process.execPath, [paced, ...to]);
      return (JSON.parse(stdout) as { p99: number }).p99;
    },
    [Symbol.asyncDispose]: () => resources.disposeAsync(),
  };
}
