export { applySliced, type SliceOptions } from './state/apply-sliced.ts';
export { emptyChange, isEmptyChange, mergeChanges } from './state/change.ts';
export * from './state/ip.ts';
export { MeshState, type MeshStateOptions, policyKey, serviceKey } from './state/mesh-state.ts';
export type * from './state/mesh-view.ts';
export { ModelPool } from './state/model-pool.ts';
export { removalUpdates } from './state/removal.ts';
export {
  WORKLOAD_WAIT_MILLISECONDS,
  type WorkloadWaitOptions,
  waitForWorkload,
} from './state/wait-for-workload.ts';
