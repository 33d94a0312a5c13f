import type { Logger, MeshUpdate, Service, Workload } from '@kmesh/api';
import { openNetworkNamespace } from '@kmesh/linux';
import { MeshState } from '@kmesh/orchestration';
import {
  createTunnel,
  type RevocationSource,
  type Tunnel,
  type TunnelCounters,
  type TunnelSettings,
} from '@kmesh/tunnel';
import { installRedirect } from '../../cni/redirect.ts';
import type { RedirectOptions } from '../../cni/rule-options.ts';
import { type WorkloadOptions, workloadOf } from '../../mesh/records.ts';
import { createLab, type Lab } from '../../network/lab.ts';
import type { Node } from '../../pods/node.ts';
import type { Pod, PodOptions } from '../../pods/pod.ts';
import { TestAuthority } from './authority.ts';
import { Recorder } from './recorder.ts';

/** A logger that keeps its lines for a test. */
class TestLogger implements Logger {
  readonly lines: string[] = [];
  error = (message: string): void => void this.lines.push(`error ${message}`);
  warn = (message: string): void => void this.lines.push(`warn ${message}`);
  info = (message: string): void => void this.lines.push(`info ${message}`);
  debug = (): void => undefined;
}

/** One node's proxy. */
interface TestProxy {
  readonly node: Node;
  readonly state: MeshState;
  readonly tunnel: Tunnel;
  readonly records: Recorder;
  readonly logger: TestLogger;
  readonly counters: { source: number; destination: number };
  /** Resolved host names, one entry for each on-demand resolution. */
  readonly resolutions: string[];
}

export interface TestMeshOptions {
  readonly nodes?: number;
  readonly settings?: TunnelSettings;
  readonly redirect?: RedirectOptions;
  readonly network?: string;
  readonly trustDomain?: string;
  /** Replaces the resolver of the nodes. */
  readonly resolveHostname?: (hostname: string) => Promise<readonly string[]>;
}

interface TestPodOptions extends Partial<PodOptions> {
  readonly node?: number;
  /** In the mesh (redirect rules and a proxy), or outside it. */
  readonly captured?: boolean;
  readonly workload?: WorkloadOptions;
}

/** Revocation lists that a test changes. */
class TestRevocations implements RevocationSource {
  lists: Uint8Array[] = [];
  readonly #listeners = new Set<() => void>();

  onChange(listener: () => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  set(...lists: Uint8Array[]): void {
    this.lists = lists;
    for (const listener of this.#listeners) listener();
  }
}

/** Lab nodes with a tunnel each, capture rules installed, one authority for all. */
export class TestMesh implements AsyncDisposable {
  readonly lab: Lab;
  readonly proxies: TestProxy[] = [];
  readonly authority = new TestAuthority();
  readonly revocations = new TestRevocations();
  readonly options: TestMeshOptions;
  readonly #owned: { close(): void }[] = [];
  #pods = 0;

  constructor(lab: Lab, options: TestMeshOptions) {
    this.lab = lab;
    this.options = options;
  }

  get records(): Recorder {
    return this.proxy(0).records;
  }

  proxy(index: number): TestProxy {
    const proxy = this.proxies[index];
    if (proxy === undefined) throw new Error(`no node ${index}`);
    return proxy;
  }

  /** Starts a proxy for a node, the first or an additional one. */
  startProxy(node: Node, settings: TunnelSettings = {}): TestProxy {
    const state = new MeshState({ node: node.name });
    const records = new Recorder();
    const logger = new TestLogger();
    const counted = { source: 0, destination: 0 };
    const resolutions: string[] = [];
    const counters: Partial<TunnelCounters> = {
      revocationRejected: (reporter) => {
        counted[reporter] += 1;
      },
      onDemandDns: (_source, hostname) => void resolutions.push(hostname),
    };
    const { resolveHostname } = this.options;
    const tunnel = createTunnel({
      mesh: state,
      node: { node: node.name, network: this.options.network ?? '', clusterId: 'Kubernetes' },
      certificates: this.authority,
      observer: records,
      logger,
      revocations: this.revocations,
      counters,
      ...(resolveHostname === undefined ? {} : { resolveHostname }),
      settings: {
        mark: 1337,
        originalSource: true,
        progressMilliseconds: 100,
        ...this.options.settings,
        ...settings,
      },
    });
    const proxy = { node, state, tunnel, records, logger, counters: counted, resolutions };
    this.proxies.push(proxy);
    return proxy;
  }

  /** Applies the changes to every proxy. */
  apply(...changes: readonly (MeshUpdate | Service | Workload)[]): void {
    for (const { state } of this.proxies) state.apply(changes.map(asUpdate));
  }

  /** Creates a pod with its workload; captured (HBONE) by default. */
  async pod(options: TestPodOptions = {}): Promise<{ pod: Pod; workload: Workload }> {
    const { node = 0, captured = true, workload: fields, ...rest } = options;
    const proxy = this.proxy(node);
    this.#pods += 1;
    const name = options.name ?? `pod${this.#pods}`;
    const pod = await proxy.node.pod({ serviceAccount: `sa-${name}`, ...rest, name });
    const workload = workloadOf(pod, {
      protocol: captured ? 'HBONE' : 'TCP',
      network: this.options.network ?? '',
      trustDomain: this.options.trustDomain ?? 'cluster.local',
      ...fields,
    });
    this.apply(workload);
    if (captured) {
      await installRedirect(pod, { dns: false, ...this.options.redirect });
      this.serve(proxy, pod);
    }
    return { pod, workload };
  }

  /** Starts the pod's proxy, as ZDS would. */
  serve(proxy: TestProxy, pod: Pod): void {
    const info = { name: pod.name, namespace: pod.podNamespace, serviceAccount: pod.serviceAccount };
    proxy.tunnel.addPod(pod.uid, info, openNetworkNamespace(pod.namespacePath));
  }

  /** Closes it with the mesh, in case the test fails first. Returns it. */
  own<Closeable extends { close(): void }>(closeable: Closeable): Closeable {
    this.#owned.push(closeable);
    return closeable;
  }

  clear(): void {
    for (const { records } of this.proxies) records.clear();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const { tunnel } of this.proxies) tunnel.close();
    for (const closeable of this.#owned) closeable.close();
    await this.lab.close();
  }
}

/** A lab with `nodes` nodes (two by default) and a proxy on each. */
export async function startTestMesh(options: TestMeshOptions = {}): Promise<TestMesh> {
  const lab = await createLab();
  const mesh = new TestMesh(lab, options);
  try {
    for (let index = 0; index < (options.nodes ?? 2); index++) mesh.startProxy(await lab.node());
  } catch (error) {
    await mesh[Symbol.asyncDispose]();
    throw error;
  }
  return mesh;
}

function asUpdate(change: MeshUpdate | Service | Workload): MeshUpdate {
  if ('kind' in change) return change;
  return 'uid' in change ? { kind: 'workload', workload: change } : { kind: 'service', service: change };
}
