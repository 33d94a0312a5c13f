import type { Workload } from '@kmesh/api';
import type { MeshChange, MeshView } from '@kmesh/orchestration';
import type { Presence } from './recorder.ts';

/** How a workload resource is named among the subjects of metric rows: `namespace/workload name`. */
export function workloadSubject(workload: Workload): string {
  return `${workload.namespace}/${workload.workloadName}`;
}

/** How one pod is named among the subjects. */
export function podSubject(workload: Workload): string {
  return `pod/${workload.uid}`;
}

/** Which workloads the mesh has now, kept by applying each change; decides which series are retired. */
export class WorkloadPresence implements Presence {
  readonly #counts = new Map<string, number>();
  readonly #known = new Map<string, Workload>();

  /** Takes in one change of a mesh that it has followed from the start. */
  follow(view: Pick<MeshView, 'workload'>, change: Pick<MeshChange, 'workloads'>): void {
    for (const uid of change.workloads) {
      const next = view.workload(uid);
      this.update(this.#known.get(uid), next);
      if (next === undefined) this.#known.delete(uid);
      else this.#known.set(uid, next);
    }
  }

  /** One workload was added (`previous` undefined), changed or removed (`next` undefined). */
  update(previous: Workload | undefined, next: Workload | undefined): void {
    if (next) {
      this.#change(workloadSubject(next), 1);
      this.#change(podSubject(next), 1);
    }
    if (previous) {
      this.#change(workloadSubject(previous), -1);
      this.#change(podSubject(previous), -1);
    }
  }

  has(subject: string): boolean {
    return this.#counts.has(subject);
  }

  #change(subject: string, by: number): void {
    const count = (this.#counts.get(subject) ?? 0) + by;
    if (count > 0) this.#counts.set(subject, count);
    else this.#counts.delete(subject);
  }
}
