import { type ChildProcess, fork, spawn } from 'node:child_process';
import { once } from 'node:events';
import { readdirSync, readFileSync } from 'node:fs';
import type { MeshUpdate, Workload } from '@kmesh/api';
import { identityUriOf } from '@kmesh/orchestration';
import { installRedirect } from '../../cni/redirect.ts';
import { tunnelProxyProgram } from '../../mesh/kmesh-program.ts';
import { workloadOf } from '../../mesh/records.ts';
import type { TunnelProxyStart } from '../../mesh/tunnel-proxy.ts';
import { createLab, type Lab } from '../../network/lab.ts';
import type { PeerIdentity } from '../../peers/hbone-client.ts';
import type { Pod } from '../../pods/pod.ts';
import { TestAuthority } from './authority.ts';

/** A proxy in a separate process, so that its memory, descriptors and CPU time can be measured. */
class ProxyProcess {
  readonly child: ChildProcess;
  stderr = '';

  constructor(child: ChildProcess) {
    this.child = child;
    child.stderr?.setEncoding('utf8').on('data', (text: string) => {
      this.stderr += text;
    });
  }

  get pid(): number {
    return this.child.pid ?? 0;
  }

  /** Resident memory in bytes. */
  get memory(): number {
    const pages = Number(readFileSync(`/proc/${this.pid}/statm`, 'utf8').split(' ')[1]);
    return pages * 4096;
  }

  get descriptors(): number {
    return readdirSync(`/proc/${this.pid}/fd`).length;
  }

  /** CPU time of all threads so far, in milliseconds. */
  get processorTime(): number {
    const fields = readFileSync(`/proc/${this.pid}/stat`, 'utf8').split(') ')[1]?.split(' ') ?? [];
    return (Number(fields[11]) + Number(fields[12])) * 10;
  }
}

/** Two captured pods on two nodes, each node's proxy in its own process. */
interface ProcessMesh extends AsyncDisposable {
  readonly lab: Lab;
  readonly client: Pod;
  readonly server: Pod;
  readonly proxies: readonly [ProxyProcess, ProxyProcess];
  readonly clientCertificate: PeerIdentity;
}

/** `openFiles` limits the descriptors of the server's proxy. */
export async function startProcessMesh(options: { openFiles?: number } = {}): Promise<ProcessMesh> {
  const lab = await createLab();
  const children: ChildProcess[] = [];
  const dispose = async (): Promise<void> => {
    for (const child of children) child.kill('SIGKILL');
    await lab.close();
  };
  try {
    const nodes = [await lab.node(), await lab.node()] as const;
    const client = await nodes[0].pod({ name: 'client' });
    const server = await nodes[1].pod({ name: 'server' });
    const workloads = [client, server].map((pod) => workloadOf(pod, { protocol: 'HBONE' }));
    const authority = new TestAuthority();
    const certificates = Object.fromEntries(
      workloads.map((workload) => {
        const { certificateChainPem, privateKeyPem, rootsPem } = authority.issue(workload);
        return [identityUriOf(workload), { certificateChainPem, privateKeyPem, rootsPem }];
      }),
    );
    const start = async (node: string, pod: Pod, openFiles?: number): Promise<ProxyProcess> => {
      const child = fork(tunnelProxyProgram, {
        serialization: 'advanced',
        stdio: ['ignore', 'inherit', 'pipe', 'ipc'],
        execArgv: ['--disable-warning=ExperimentalWarning', '--expose-gc'],
      });
      children.push(child);
      child.send(startMessage(node, pod, workloads, certificates));
      await once(child, 'message');
      if (openFiles !== undefined) {
        await once(spawn('prlimit', ['--pid', `${child.pid}`, `--nofile=${openFiles}:${openFiles}`]), 'exit');
      }
      return new ProxyProcess(child);
    };
    const proxies = [
      await start(nodes[0].name, client),
      await start(nodes[1].name, server, options.openFiles),
    ] as const;
    for (const pod of [client, server]) await installRedirect(pod, { dns: false });
    const clientCertificate = authority.issue(workloadOf(client, { protocol: 'HBONE' }));
    return { lab, client, server, proxies, clientCertificate, [Symbol.asyncDispose]: dispose };
  } catch (error) {
    await dispose();
    throw error;
  }
}

function startMessage(
  node: string,
  pod: Pod,
  workloads: readonly Workload[],
  certificates: TunnelProxyStart['certificates'],
): TunnelProxyStart {
  return {
    node,
    updates: workloads.map((workload): MeshUpdate => ({ kind: 'workload', workload })),
    certificates,
    pods: [
      {
        uid: pod.uid,
        name: pod.name,
        namespace: pod.podNamespace,
        serviceAccount: pod.serviceAccount,
        path: pod.namespacePath,
      },
    ],
  };
}
