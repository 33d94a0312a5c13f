import { execFileSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import type { Service, Workload } from '@kmesh/api';
import { serviceRecord, workloadRecord } from '@kmesh/api/testing';
import {
  type BpfObject,
  createNetworkNamespace,
  findCgroupMount,
  kernelBarrier,
  type NetworkNamespace,
} from '@kmesh/linux';
import type { MeshView } from '@kmesh/orchestration';
import {
  attachKernelObject,
  type KernelCapacities,
  type KernelProgram,
  KernelTables,
  kernelMapsOf,
  kernelPrograms,
  loadKernelObject,
} from '@kmesh/runtime';

export const kernelObjectPath = fileURLToPath(
  new URL('../../../../../build/bpf/kmesh.bpf.o', import.meta.url),
);

/** The programs attached at the cgroup root, and tables over a mesh view: one node's kernel path. */
export interface KernelPath extends AsyncDisposable {
  readonly object: BpfObject;
  readonly tables: KernelTables;
}

/** Options of {@link startKernelPath}. */
interface KernelPathOptions {
  readonly view: MeshView;
  readonly programs?: readonly KernelProgram[];
  readonly capacities?: KernelCapacities;
  readonly network?: string;
  readonly cgroup?: string;
}

/** Loads and attaches the programs; only enrolled namespaces of this machine are affected. */
export async function startKernelPath(options: KernelPathOptions): Promise<KernelPath> {
  const object = await loadKernelObject({ path: kernelObjectPath, capacities: options.capacities ?? {} });
  const tables = new KernelTables({
    view: options.view,
    node: { node: 'node-1', network: options.network ?? '', clusterId: 'Kubernetes' },
    maps: kernelMapsOf(object),
    barrier: kernelBarrier,
  });
  const cgroup = options.cgroup ?? findCgroupMount();
  if (cgroup === undefined) throw new Error('no cgroup v2 mount');
  const links = attachKernelObject(object, cgroup, options.programs ?? kernelPrograms);
  return {
    object,
    tables,
    async [Symbol.asyncDispose]() {
      for (const link of links.values()) link.close();
      object.close();
    },
  };
}

/**
 * Creates a namespace in which every address of both families is local, so any address can be dialled or listened on.
 */
export function createPodNamespace(): NetworkNamespace {
  const namespace = createNetworkNamespace('test pod');
  for (const family of ['-4', '-6']) {
    const net = `--net=${namespace.path}`;
    execFileSync('nsenter', [
      net,
      'ip',
      family,
      'route',
      'add',
      'local',
      'default',
      'dev',
      'lo',
      'table',
      'local',
    ]);
  }
  return namespace;
}

/** Returns a workload with the defaults of the local mesh file. */
export function workload(fields: Partial<Workload> & { readonly uid: string }): Workload {
  return workloadRecord({
    name: fields.uid,
    trustDomain: '',
    serviceAccount: '',
    canonicalName: '',
    canonicalRevision: '',
    workloadName: '',
    clusterId: '',
    ...fields,
  });
}

/** Returns a service with the defaults of the local mesh file. */
export function service(fields: Partial<Service> & { readonly hostname: string }): Service {
  return serviceRecord({ name: fields.hostname.split('.')[0] ?? '', ...fields });
}
