import { fileURLToPath } from 'node:url';
import type { MeshUpdate, Route, Service, Workload } from '@kmesh/api';
import { type BpfObject, kernelBarrier, type Link, openNetworkNamespace } from '@kmesh/linux';
import { MeshState } from '@kmesh/orchestration';
import {
  attachKernelObject,
  type KernelCapacities,
  type KernelProgram,
  KernelTables,
  kernelMapsOf,
  loadKernelObject,
  readConnectCounters,
} from '@kmesh/runtime';
import type { Lab } from '../network/lab.ts';
import type { Pod } from '../pods/pod.ts';
import { ObservedConnections } from './observed-connections.ts';
import { asUpdate, workloadOf } from './records.ts';

export interface KernelMeshOptions {
  readonly capacities?: KernelCapacities;
  /** Name of the node whose kernel this is; the lab's first node by default. */
  readonly node?: string;
}

const OBJECT_PATH =
  process.env['KMESH_BPF_OBJECT'] ??
  fileURLToPath(new URL('../../../../build/bpf/kmesh.bpf.o', import.meta.url));

/**
 * Starts only the kernel path for the pods of a lab: programs attached to the lab's cgroup, and tables that follow a
 * mesh state under the test's control. No daemon, no control plane.
 *
 * @throws KMESH_BPF_OBJECT_MISSING, KMESH_BPF_LOAD_FAILED
 */
export async function startKernelMesh(lab: Lab, options: KernelMeshOptions = {}): Promise<KernelMesh> {
  const object = await loadKernelObject({ path: OBJECT_PATH, capacities: options.capacities ?? {} });
  try {
    const node = { node: options.node ?? lab.nodes[0]?.name ?? '', network: '', clusterId: 'Kubernetes' };
    const state = new MeshState({ node: node.node });
    const tables = new KernelTables({
      view: state,
      node,
      maps: kernelMapsOf(object),
      barrier: kernelBarrier,
    });
    const links = attachKernelObject(object, lab.cgroup);
    return new KernelMesh(object, links, state, tables);
  } catch (error) {
    object.close();
    throw error;
  }
}

/** See {@link startKernelMesh}. */
export class KernelMesh implements AsyncDisposable {
  readonly object: BpfObject;
  readonly state: MeshState;
  readonly tables: KernelTables;
  /** Uids of enrolled workloads by the cookies of their namespaces. */
  readonly workloadOfPod = new Map<bigint, string>();
  readonly links: ReadonlyMap<KernelProgram, Link>;

  constructor(
    object: BpfObject,
    links: ReadonlyMap<KernelProgram, Link>,
    state: MeshState,
    tables: KernelTables,
  ) {
    this.object = object;
    this.links = links;
    this.state = state;
    this.tables = tables;
  }

  /** Changes the mesh; resolves when the change applies to every later connect. */
  async apply(...changes: readonly (MeshUpdate | Service | Workload | Route)[]): Promise<void> {
    await this.tables.apply(this.state.apply(changes.map(asUpdate)));
  }

  /** Enrols pods as workloads of the mesh, as plain TCP workloads unless a workload is given. */
  async enrol(...pods: readonly (Pod | { readonly pod: Pod; readonly workload: Workload })[]): Promise<void> {
    const members = pods.map((entry) =>
      'pod' in entry ? entry : { pod: entry, workload: workloadOf(entry) },
    );
    const unknown = members.filter(({ workload }) => this.state.workload(workload.uid) === undefined);
    await this.apply(...unknown.map(({ workload }) => workload));
    for (const { pod, workload } of members) {
      using namespace = openNetworkNamespace(pod.namespacePath);
      this.tables.enrol(namespace.cookie, workload, false);
      this.workloadOfPod.set(namespace.cookie, workload.uid);
    }
  }

  /** Reverses {@link KernelMesh.enrol} for one pod. */
  unenrol(pod: Pod): void {
    using namespace = openNetworkNamespace(pod.namespacePath);
    this.tables.remove(namespace.cookie);
    this.workloadOfPod.delete(namespace.cookie);
  }

  /** Returns the connect hook's decisions so far, by name in `enum kmesh_reason`; omits those with count 0. */
  decisions(): Record<string, number> {
    const counters = Object.entries(readConnectCounters(this.object.map('counters')));
    return Object.fromEntries(
      counters.filter(([, count]) => count > 0n).map(([name, count]) => [name, Number(count)]),
    );
  }

  /** Starts reading the connection events. */
  observe(): ObservedConnections {
    return new ObservedConnections(this);
  }

  async close(): Promise<void> {
    for (const link of this.links.values()) link.close();
    this.object.close();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }
}
