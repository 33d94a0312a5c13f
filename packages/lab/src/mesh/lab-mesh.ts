import { KmeshError, type MeshUpdate, type Route, type Service, type Workload } from '@kmesh/api';
import { type FakeCniAgent, startFakeCniAgent } from '../cni/fake-cni-agent.ts';
import { installRedirect } from '../cni/redirect.ts';
import type { RedirectOptions } from '../cni/rule-options.ts';
import type { CertificateSettings } from '../istiod/certificate-service.ts';
import { startFakeIstiod } from '../istiod/fake-istiod.ts';
import type { FakeIstiod } from '../istiod/istiod-interface.ts';
import type { Lab } from '../network/lab.ts';
import type { PeerIdentity } from '../peers/hbone-client.ts';
import type { LeafOptions } from '../pki/authority.ts';
import type { Host } from '../pods/host.ts';
import type { Node } from '../pods/node.ts';
import type { Pod, PodOptions } from '../pods/pod.ts';
import { relayInto } from './istiod-relay.ts';
import { NodeProxy } from './node-proxy.ts';
import { asUpdate, type WorkloadOptions, workloadOf } from './records.ts';

interface MeshOptions {
  /** Whether the proxies may use the kernel path, over the lab's cgroup; {@link kernelPathByDefault} when absent. */
  readonly kernelPath?: boolean;
  /** Rules of pods that specify none; include the DNS rules by default, as with istio-cni. */
  readonly redirect?: RedirectOptions;
  /** Behaviour of the certificate service, such as `{ lifetimeSeconds: 10 }`. */
  readonly certificates?: Partial<CertificateSettings>;
  /** Further settings of every proxy, which may depend on its place. */
  readonly environment?: Settings | ((host: Host) => Settings);
  /** Time limit for the proxies to become ready; 20 seconds by default. */
  readonly readyMilliseconds?: number;
  /** Executable instead of {@link kmeshExecutable}: another node proxy with the same interfaces. */
  readonly executable?: string;
  /** Whether to discard the proxies' output, so that a benchmark does not measure the cost of reading it. */
  readonly discardsOutput?: boolean;
}

interface MeshPodOptions extends PodOptions {
  /** In the mesh (`true`, the default) or outside it; or the rules to install. */
  readonly captured?: boolean | RedirectOptions;
  readonly workload?: WorkloadOptions;
}

/** One node's proxy and its CNI agent. */
export interface MeshNode {
  readonly node: Node;
  readonly agent: FakeCniAgent;
  readonly proxy: NodeProxy;
}

type Settings = Readonly<Record<string, string>>;

/** Port of the control plane on each proxy's loopback. */
const CONTROL_PLANE_PORT = 15012;

/**
 * `KMESH_TEST_KERNEL_PATH`: `on`, or `off` when absent; tests that do not set the option run with both values. @throws
 * KMESH_LAB_MESH
 */
function kernelPathByDefault(): boolean {
  const setting = process.env['KMESH_TEST_KERNEL_PATH'] ?? 'off';
  if (setting === 'on' || setting === 'off') return setting === 'on';
  throw new KmeshError('KMESH_LAB_MESH', `KMESH_TEST_KERNEL_PATH is "${setting}"; allowed are on and off.`);
}

/**
 * Starts the real executable on every node of a lab, each with a CNI agent, all with one fake control plane, and waits
 * until they are ready. `close` ends them, and so does closing the lab.
 */
export async function startMesh(lab: Lab, options: MeshOptions = {}): Promise<LabMesh> {
  const istiod = await startFakeIstiod({ certificates: options.certificates ?? {} });
  const mesh = new LabMesh(lab, istiod, options);
  try {
    for (const node of lab.nodes) await mesh.startNode(node);
    await Promise.all(mesh.nodes.map(({ proxy }) => proxy.ready(options.readyMilliseconds)));
  } catch (error) {
    await mesh.close().catch(() => undefined);
    throw error;
  }
  return mesh;
}

/** See {@link startMesh}. */
export class LabMesh implements AsyncDisposable {
  readonly lab: Lab;
  readonly istiod: FakeIstiod;
  readonly nodes: MeshNode[] = [];
  readonly #options: MeshOptions;
  readonly #dedicated: NodeProxy[] = [];
  readonly #relays: (() => Promise<void>)[] = [];

  constructor(lab: Lab, istiod: FakeIstiod, options: MeshOptions) {
    this.lab = lab;
    this.istiod = istiod;
    this.#options = options;
  }

  /** Whether the proxies may use the kernel path. */
  get kernelPath(): boolean {
    return this.#options.kernelPath ?? kernelPathByDefault();
  }

  /** The first or another node, with its proxy. */
  node(index = 0): MeshNode {
    const node = this.nodes[index];
    if (node === undefined) throw new KmeshError('KMESH_LAB_MESH', `The mesh has no node ${index}.`);
    return node;
  }

  /** The proxy of a pod's node. */
  proxyOf(pod: Pod): NodeProxy {
    return this.#nodeOf(pod).proxy;
  }

  /** Called for each node by {@link startMesh}; does not wait until the proxy is ready. */
  async startNode(node: Node): Promise<void> {
    const agent = startFakeCniAgent(this.lab, { redirect: { ...this.#options.redirect } });
    const name = `ztunnel-${node.name}`;
    const environment = { ...(await this.#environment(node)), NODE_NAME: node.name };
    const identity = { POD_NAME: name, POD_NAMESPACE: 'istio-system', SERVICE_ACCOUNT: 'ztunnel' };
    const { executable, discardsOutput } = this.#options;
    const proxy = new NodeProxy(
      node,
      { ...environment, ...identity, INPOD_UDS: agent.path },
      { ...(executable === undefined ? {} : { executable }), ...(discardsOutput ? { discardsOutput } : {}) },
    );
    this.nodes.push({ node, agent, proxy });
    proxy.start();
    const account = { name, podNamespace: 'istio-system', serviceAccount: 'ztunnel' };
    const pod = { uid: name, labels: {}, node: node.name, addresses: node.addresses, ...account };
    this.istiod.update([{ kind: 'workload', workload: workloadOf(pod, { protocol: 'HBONE' }) }]);
  }

  /** Sends the change to every proxy, and waits until each has applied it. */
  async apply(...changes: readonly (MeshUpdate | Service | Workload | Route)[]): Promise<void> {
    this.istiod.update(changes.map(asUpdate));
    await this.settled();
  }

  /** Waits until every proxy has acknowledged all changes. */
  settled(): Promise<void> {
    const { istiod } = this;
    return istiod.waitFor('answers of all proxies', () =>
      istiod.connections.every((open) => open.outstanding === 0),
    );
  }

  /** Adds a pod and announces its workload to all proxies; captured and served unless the options disable it. */
  async pod(options: MeshPodOptions, node = 0): Promise<MeshPod> {
    const { captured = true, workload: fields, ...rest } = options;
    const place = this.node(node);
    const pod = await place.node.pod({ serviceAccount: `sa-${options.name}`, ...rest });
    const workload = workloadOf(pod, { protocol: captured === false ? 'TCP' : 'HBONE', ...fields });
    await this.apply(workload);
    if (captured !== false) {
      const problem = await place.agent.addPod(pod, captured === true ? undefined : captured);
      if (problem !== '') throw new KmeshError('KMESH_LAB_MESH', `${pod.name} is not served: ${problem}`);
    }
    return { pod, workload };
  }

  /** Adds a pod with a dedicated-mode proxy in the pod's namespace. */
  async dedicatedPod(options: PodOptions, node = 0): Promise<MeshPod & { readonly proxy: NodeProxy }> {
    const pod = await this.node(node).node.pod({ serviceAccount: `sa-${options.name}`, ...options });
    const workload = workloadOf(pod, { protocol: 'HBONE' });
    await this.apply(workload);
    const proxy = new NodeProxy(pod, {
      ...(await this.#environment(pod)),
      AUTH_TOKEN: this.istiod.tokenFor({ namespace: pod.podNamespace, serviceAccount: pod.serviceAccount }),
      NODE_NAME: pod.node,
      POD_NAME: pod.name,
      POD_NAMESPACE: pod.podNamespace,
      SERVICE_ACCOUNT: pod.serviceAccount,
      PROXY_MODE: 'dedicated',
      PROXY_WORKLOAD_INFO: `${pod.podNamespace}/${pod.name}/${pod.serviceAccount}`,
      PACKET_MARK: '1337',
    });
    this.#dedicated.push(proxy);
    proxy.start();
    await proxy.ready();
    await installRedirect(pod, { ...this.#options.redirect });
    return { pod, workload, proxy };
  }

  /** Issues a certificate of the mesh's authority, for a peer that is not Kmesh. */
  identity(spiffe: string | Pod, leaf: Partial<LeafOptions> = {}): PeerIdentity {
    const uri =
      typeof spiffe === 'string'
        ? spiffe
        : `spiffe://cluster.local/ns/${spiffe.podNamespace}/sa/${spiffe.serviceAccount}`;
    const { authority } = this.istiod;
    const issued = authority.issue({ uris: [uri], ...leaf });
    return {
      certificateChainPem: issued.chainPem,
      privateKeyPem: issued.privateKeyPem,
      rootsPem: [authority.rootPem],
    };
  }

  /**
   * Ends the proxies, their agents and the control plane. @throws KMESH_LAB_PROTOCOL when a proxy broke the xDS
   * protocol
   */
  async close(): Promise<void> {
    const proxies = [...this.nodes.map(({ proxy }) => proxy), ...this.#dedicated];
    for (const proxy of proxies) proxy.kill('SIGKILL');
    await Promise.all(proxies.map((proxy) => proxy.ended));
    for (const { agent } of this.nodes) await agent.close();
    for (const stop of this.#relays) await stop();
    await this.istiod.close();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  async #environment(host: Host): Promise<Record<string, string>> {
    const { istiod, lab } = this;
    const { environment = {} } = this.#options;
    this.#relays.push(await relayInto(host, CONTROL_PLANE_PORT, istiod.xdsAddress));
    const address = `https://127.0.0.1:${CONTROL_PLANE_PORT}`;
    return {
      XDS_ADDRESS: address,
      CA_ADDRESS: address,
      XDS_ROOT_CA: istiod.rootPem,
      CA_ROOT_CA: istiod.rootPem,
      AUTH_TOKEN: istiod.token,
      KMESH_KERNEL_PATH: String(this.kernelPath),
      KMESH_CGROUP: lab.cgroup,
      ...(typeof environment === 'function' ? environment(host) : environment),
    };
  }

  #nodeOf(pod: Pod): MeshNode {
    const found = this.nodes.find(({ node }) => node.name === pod.node);
    if (found === undefined) throw new KmeshError('KMESH_LAB_MESH', `${pod.name} is on no node of the mesh.`);
    return found;
  }
}

/** A pod with its workload in the mesh. */
export interface MeshPod {
  readonly pod: Pod;
  readonly workload: Workload;
}
