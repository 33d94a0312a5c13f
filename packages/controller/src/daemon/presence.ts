import type { MeshState } from '@kmesh/orchestration';
import { WorkloadPresence } from '@kmesh/probe';

/** Which workloads the mesh has, for retiring the series of those that left. `state` must still be empty. */
export function followPresence(state: MeshState): { readonly presence: WorkloadPresence; close(): void } {
  const presence = new WorkloadPresence();
  const close = state.subscribe((change) => presence.follow(state, change));
  return { presence, close };
}
