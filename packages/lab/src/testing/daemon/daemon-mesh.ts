import { type FakeCniAgent, startFakeCniAgent } from '../../cni/fake-cni-agent.ts';
import { startFakeIstiod } from '../../istiod/fake-istiod.ts';
import type { FakeIstiod } from '../../istiod/istiod-interface.ts';
import { relayInto } from '../../mesh/istiod-relay.ts';
import { type WorkloadOptions, workloadOf } from '../../mesh/records.ts';
import { createLab, type Lab } from '../../network/lab.ts';
import type { Host } from '../../pods/host.ts';
import type { Node } from '../../pods/node.ts';
import type { Pod } from '../../pods/pod.ts';
import { type DaemonProcess, type DaemonSettings, startDaemonProcess } from './daemon-process.ts';
import { istiodEnvironment } from './istiod-environment.ts';

/** A node with its CNI agent. */
export interface AgentNode {
  readonly node: Node;
  readonly agent: FakeCniAgent;
}

/** A daemon's settings; the mesh chooses its host. */
type DaemonOptions = Omit<DaemonSettings, 'host'>;

/** Real daemons on lab nodes with one fake control plane, each in its own network namespace, like a pod. */
export class DaemonMesh implements AsyncDisposable {
  readonly lab: Lab;
  readonly istiod: FakeIstiod;
  readonly #stack: AsyncDisposableStack;
  #daemons = 0;
  #pods = 0;

  /** Use {@link startDaemonMesh}. */
  constructor(lab: Lab, istiod: FakeIstiod, stack: AsyncDisposableStack) {
    this.lab = lab;
    this.istiod = istiod;
    this.#stack = stack;
  }

  async node(): Promise<AgentNode> {
    const node = await this.lab.node();
    return { node, agent: this.#stack.use(startFakeCniAgent(this.lab)) };
  }

  /** Creates a pod with a workload that speaks HBONE; no agent knows it yet. */
  async pod(node: Node, workload: WorkloadOptions = {}): Promise<Pod> {
    this.#pods += 1;
    const name = `pod${this.#pods}`;
    const pod = await node.pod({ name, serviceAccount: `sa-${name}` });
    this.istiod.update([{ kind: 'workload', workload: workloadOf(pod, { protocol: 'HBONE', ...workload }) }]);
    return pod;
  }

  /** Starts a daemon for a node; without `controlPlane` it cannot reach one until {@link connect}. */
  async daemon(
    { node, agent }: AgentNode,
    options: DaemonOptions & { readonly controlPlane?: boolean } = {},
  ): Promise<DaemonProcess & { readonly host: Host }> {
    this.#daemons += 1;
    const host = await this.lab.outsideHost(`daemon${this.#daemons}`);
    if (options.controlPlane !== false) await this.connect(host);
    const daemon = startDaemonProcess({
      host,
      ...options,
      environment: {
        ...istiodEnvironment(this.istiod),
        POD_NAME: `ztunnel-${this.#daemons}`,
        NODE_NAME: node.name,
        KMESH_NODE_NAMESPACE: node.namespacePath,
        INPOD_UDS: agent.path,
        ...options.environment,
      },
    });
    this.#stack.use(daemon);
    return Object.assign(daemon, { host });
  }

  /** Makes the control plane reachable from a daemon's host. */
  async connect(host: Host): Promise<void> {
    this.#stack.defer(await relayInto(host, 15012, this.istiod.xdsAddress));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#stack.disposeAsync();
  }
}

/** Starts a mesh without nodes. */
export async function startDaemonMesh(): Promise<DaemonMesh> {
  await using stack = new AsyncDisposableStack();
  const lab = stack.use(await createLab());
  const istiod = await startFakeIstiod({ mesh: [] });
  stack.defer(() => istiod.close());
  return new DaemonMesh(lab, istiod, stack.move());
}

/** Returns the value of one series on a daemon's metrics page, or undefined if it is absent. */
export async function metric(daemon: DaemonProcess, name: string): Promise<number | undefined> {
  const { body } = await daemon.http('/metrics', { port: 15020 });
  const line = body.split('\n').find((text) => text.startsWith(`${name} `) || text.startsWith(`${name}{`));
  return line === undefined ? undefined : Number(line.slice(line.lastIndexOf(' ')));
}

/** Returns status and body of the readiness answer. */
export async function readiness(daemon: DaemonProcess): Promise<{ status: number; body: string }> {
  const { status, body } = await daemon.http('/healthz/ready', { port: 15021 });
  return { status, body };
}
