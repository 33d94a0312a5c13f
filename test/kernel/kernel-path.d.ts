import { type KernelCapacities, type KernelProgram, KernelTables, type MeshView } from '@kmesh/orchestration';
import { type BpfObject, type NetworkNamespace } from '@kmesh/runtime';
export declare const kernelObjectPath: string;
/** The programs attached at the cgroup root, and tables over a mesh view: one node's kernel path. */
export interface KernelPath extends AsyncDisposable {
  readonly object: BpfObject;
  readonly tables: KernelTables;
}
/** How {@link startKernelPath} sets up. */
export interface KernelPathOptions {
  readonly view: MeshView;
  readonly programs?: readonly KernelProgram[];
  readonly capacities?: KernelCapacities;
  readonly network?: string;
  readonly cgroup?: string;
}
/** Loads and attaches the programs beside whatever else runs on this machine; only enrolled namespaces are touched. */
export declare function startKernelPath(options: KernelPathOptions): Promise<KernelPath>;
/** A namespace in which every address of both families is local: any endpoint can be dialled, or listened on. */
export declare function createPodNamespace(): NetworkNamespace;
