import type { Workload } from '@kmesh/api';
import type { MeshView } from '@kmesh/orchestration';
import type { Presence } from './recorder.ts';

/** Returns the subject of metric rows for a workload resource: `namespace/workload name`. */
export function workloadSubject(workload: Pick<Workload, 'namespace' | 'workloadName'>): string {
  return `${workload.namespace}/${workload.workloadName}`;
}

/** Returns the subject of metric rows for one pod. */
export function podSubject(workload: Workload): string {
  return `${podPrefix}${workload.uid}`;
}

const podPrefix = 'pod/';

/** Lookups in the mesh state that presence needs. */
interface PresentWorkloads extends Pick<MeshView, 'workload'> {
  workloads(): Iterable<Workload>;
}

/**
 * Knows which workloads the mesh has, to decide which series are retired. Keeps nothing between sweeps: in a mesh of
 * 100,000 workloads a separate index would take tens of MiB, and a sweep runs at most once a minute.
 */
export class WorkloadPresence implements Presence {
  readonly #mesh: PresentWorkloads;
  /** Namespace → names of its workloads, loaded on first use in a sweep. */
  #names: Map<string, Set<string>> | undefined;

  constructor(mesh: PresentWorkloads) {
    this.#mesh = mesh;
  }

  begin(): void {
    this.#names = undefined;
  }

  has(subject: string): boolean {
    if (subject.startsWith(podPrefix))
      return this.#mesh.workload(subject.slice(podPrefix.length)) !== undefined;
    this.#names ??= namesOf(this.#mesh.workloads());
    const slash = subject.indexOf('/');
    return this.#names.get(subject.slice(0, slash))?.has(subject.slice(slash + 1)) ?? false;
  }

  end(): void {
    this.#names = undefined;
  }
}

function namesOf(workloads: Iterable<Workload>): Map<string, Set<string>> {
  const names = new Map<string, Set<string>>();
  for (const { namespace, workloadName } of workloads) {
    let known = names.get(namespace);
    if (known === undefined) {
      known = new Set();
      names.set(namespace, known);
    }
    known.add(workloadName);
  }
  return names;
}
