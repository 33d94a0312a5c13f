import { createPodNamespace, kernelObjectPath, workload } from '@kmesh/lab/testing/kernel/kernel-path.ts';
import {
  type BpfObject,
  type BpfProgram,
  EventRing,
  enableProgramStatistics,
  kernelBarrier,
  type NetworkNamespace,
} from '@kmesh/linux';
import type { MeshChange, MeshState } from '@kmesh/orchestration';
import { attachKernelObject, KernelTables, kernelMapsOf, loadKernelObject } from '@kmesh/runtime';
import { median } from '../harness/report.ts';
import { Driver, ScratchCgroup } from './driver.ts';

/**
 * The kernel's placement of a program and its tables changes the time by up to 30 ns for as long as they are loaded.
 */
const LOADS = 5;
const CONNECTS = 10_000;
/** Connects before each measurement, to warm caches that the previous contestant used. */
const WARM_UP = 6000;

const client = workload({ uid: 'Kubernetes//Pod/default/client', addresses: ['10.255.0.1'] });

/** The services that are dialled: `services` of the mesh's, `step` apart. */
export interface Dialled {
  readonly services: number;
  readonly step: number;
}

/** Several loads of the connect hook over one mesh, and a client in a separate pod and cgroup. */
export class HookLoads implements AsyncDisposable {
  readonly instances: readonly { readonly object: BpfObject; readonly tables: KernelTables }[];
  readonly #pod: NetworkNamespace;
  readonly #cgroup: ScratchCgroup;
  readonly #driver: Driver;
  readonly #stack: AsyncDisposableStack;

  private constructor(
    instances: HookLoads['instances'],
    parts: { readonly pod: NetworkNamespace; readonly cgroup: ScratchCgroup; readonly driver: Driver },
    stack: AsyncDisposableStack,
  ) {
    this.instances = instances;
    this.#pod = parts.pod;
    this.#cgroup = parts.cgroup;
    this.#driver = parts.driver;
    this.#stack = stack;
  }

  static async open(view: MeshState): Promise<HookLoads> {
    await using stack = new AsyncDisposableStack();
    stack.use(enableProgramStatistics());
    const pod = stack.use(createPodNamespace());
    const cgroup = stack.use(new ScratchCgroup());
    const driver = stack.use(new Driver(pod, cgroup));
    const instances: { object: BpfObject; tables: KernelTables }[] = [];
    for (let load = 0; load < LOADS; load++) {
      const object = stack.use(await loadKernelObject({ path: kernelObjectPath }));
      stack.use(new EventRing(object.map('events'), { recordSize: 128, onBatch: () => {} }));
      instances.push({ object, tables: tablesOver(view, object) });
    }
    return new HookLoads(instances, { pod, cgroup, driver }, stack.move());
  }

  /** Applies a change to the tables of every load. */
  async apply(change: MeshChange): Promise<void> {
    for (const { tables } of this.instances) await tables.apply(change);
  }

  enrol(tables: KernelTables): void {
    if (!tables.enrol(this.#pod.cookie, client, false)) throw new Error('the pod could not be enrolled');
  }

  remove(tables: KernelTables): void {
    tables.remove(this.#pod.cookie);
  }

  /** Returns the mean nanoseconds of another program at the same hook. */
  async measureProgram(program: BpfProgram, dialled: Dialled): Promise<number> {
    using _link = program.attachCgroup(this.#cgroup.path);
    return await this.#meanOf(program, dialled);
  }

  /**
   * Returns the mean nanoseconds of the connect hook of one load; with several batches the median of their means, which
   * excludes batches that were interrupted.
   */
  async measure(object: BpfObject, dialled: Dialled, batches = 1): Promise<number> {
    const links = attachKernelObject(object, this.#cgroup.path);
    try {
      return await this.#meanOf(object.program('kmesh_connect4'), dialled, batches);
    } finally {
      for (const link of links.values()) link.close();
    }
  }

  async #meanOf(program: BpfProgram, { services, step }: Dialled, batches = 1): Promise<number> {
    await this.#driver.dial(services, step, WARM_UP);
    const means: number[] = [];
    for (let batch = 0; batch < batches; batch++) {
      const before = program.info();
      await this.#driver.dial(services, step, CONNECTS / batches);
      const after = program.info();
      means.push(Number(after.runTimeNs - before.runTimeNs) / Number(after.runCount - before.runCount));
    }
    return median(means);
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.#stack.disposeAsync();
  }
}

/** Kernel tables that follow a mesh. */
export function tablesOver(view: MeshState, object: Parameters<typeof kernelMapsOf>[0]): KernelTables {
  return new KernelTables({
    view,
    node: { node: '', network: '', clusterId: '' },
    maps: kernelMapsOf(object),
    barrier: kernelBarrier,
  });
}
