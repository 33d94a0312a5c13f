import type { Logger } from '@kmesh/api';
import type { KernelTables, MeshChange, MeshState } from '@kmesh/orchestration';
import type { NetworkNamespace } from '@kmesh/runtime';
import type { PodHandler, PodInfo } from '../zds/index.ts';

interface EnrolledPod {
  readonly info: PodInfo;
  readonly cookie: bigint;
  /** The workload it was enrolled as; `undefined` while the mesh does not know it. */
  workloadUid: string | undefined;
}

/**
 * Enrols pods in the kernel tables, each as soon as the mesh knows its workload; a pod whose workload goes leaves the
 * tables, and its connections take the tunnel path.
 */
export class KernelEnrolment implements PodHandler {
  readonly #tables: KernelTables;
  readonly #state: MeshState;
  readonly #logger: Logger;
  readonly #pods = new Map<string, EnrolledPod>();
  readonly #unsubscribe: () => void;

  constructor(tables: KernelTables, state: MeshState, logger: Logger) {
    this.#tables = tables;
    this.#state = state;
    this.#logger = logger;
    this.#unsubscribe = state.subscribe((change) => this.#follow(change));
  }

  start(pod: PodInfo, namespace: NetworkNamespace): Promise<void> {
    const entry: EnrolledPod = { info: pod, cookie: namespace.cookie, workloadUid: undefined };
    this.#pods.set(pod.uid, entry);
    this.#enrol(entry);
    return Promise.resolve();
  }

  stop(uid: string): Promise<void> {
    const entry = this.#pods.get(uid);
    this.#pods.delete(uid);
    if (entry !== undefined) this.#tables.remove(entry.cookie);
    return Promise.resolve();
  }

  /** Workload of a pod by its namespace cookie, for events. */
  workloadUidOf(cookie: bigint): string | undefined {
    for (const entry of this.#pods.values()) if (entry.cookie === cookie) return entry.workloadUid;
    return undefined;
  }

  close(): void {
    this.#unsubscribe();
    for (const entry of this.#pods.values()) this.#tables.remove(entry.cookie);
    this.#pods.clear();
  }

  #follow(change: MeshChange): void {
    if (change.workloads.size === 0) return;
    for (const entry of this.#pods.values()) {
      if (entry.workloadUid === undefined || change.workloads.has(entry.workloadUid)) this.#enrol(entry);
    }
  }

  #enrol(entry: EnrolledPod): void {
    const { info, cookie } = entry;
    const workload = this.#state.localWorkload(info.namespace, info.serviceAccount, info.name);
    if (workload === undefined) {
      if (entry.workloadUid !== undefined) this.#tables.remove(cookie);
      entry.workloadUid = undefined;
      return;
    }
    if (this.#tables.enrol(cookie, workload, false)) {
      entry.workloadUid = workload.uid;
      return;
    }
    entry.workloadUid = undefined;
    this.#logger.warn('a pod stays on the tunnel path: the kernel tables cannot serve it', {
      pod: `${info.namespace}/${info.name}`,
    });
  }
}
