import type { Logger } from '@kmesh/api';
import type { KernelTables, MeshChange, MeshState } from '@kmesh/orchestration';
import type { PodInfo } from '@kmesh/tunnel';

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
export class KernelEnrolment {
  readonly #tables: KernelTables;
  readonly #state: MeshState;
  readonly #logger: Logger;
  readonly #pods = new Map<string, EnrolledPod>();
  readonly #byCookie = new Map<bigint, EnrolledPod>();
  readonly #unsubscribe: () => void;

  constructor(tables: KernelTables, state: MeshState, logger: Logger) {
    this.#tables = tables;
    this.#state = state;
    this.#logger = logger;
    this.#unsubscribe = state.subscribe((change) => this.#follow(change));
  }

  /** @param cookie of the pod's network namespace */
  add(uid: string, info: PodInfo, cookie: bigint): void {
    const entry: EnrolledPod = { info, cookie, workloadUid: undefined };
    this.#pods.set(uid, entry);
    this.#byCookie.set(cookie, entry);
    this.#enrol(entry);
  }

  remove(uid: string): void {
    const entry = this.#pods.get(uid);
    if (entry === undefined) return;
    this.#pods.delete(uid);
    this.#byCookie.delete(entry.cookie);
    this.#tables.remove(entry.cookie);
  }

  /** Workload of a pod by its namespace cookie, for events. */
  workloadUidOf(cookie: bigint): string | undefined {
    return this.#byCookie.get(cookie)?.workloadUid;
  }

  /** Whether the connections of a workload's pod are decided by the kernel tables. */
  serves(workloadUid: string): boolean {
    for (const entry of this.#pods.values()) if (entry.workloadUid === workloadUid) return true;
    return false;
  }

  close(): void {
    this.#unsubscribe();
    for (const uid of [...this.#pods.keys()]) this.remove(uid);
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
