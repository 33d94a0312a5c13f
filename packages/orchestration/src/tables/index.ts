export { LiveFlowTable, liveFlowsObstacles } from './flows-object.ts';
export type { FrontendEntry } from './frontend-entry.ts';
export {
  kmeshCloseReason,
  kmeshDirection,
  kmeshEventKind,
  kmeshEventLayout,
  kmeshHandoffKeyLayout,
  kmeshHandoffLayout,
  kmeshPath,
  kmeshSettingsLayout,
  pinnedLayouts,
} from './gen/layouts.ts';
export { HandoffPodTable } from './handoff-pod-table.ts';
export { type ConnectReason, pathOfReason, readConnectCounters } from './kernel-event.ts';
export { entryTableOf, kernelMapsOf } from './kernel-maps.ts';
export {
  attachKernelObject,
  type KernelCapacities,
  type KernelProgram,
  kernelPathObstacles,
  kernelPrograms,
  loadKernelObject,
} from './kernel-object.ts';
export { KernelTables } from './kernel-tables.ts';
export { readPerCpuCounters } from './per-cpu-counters.ts';
export { PodAddressTable } from './pod-address-table.ts';
export { PodTable } from './pod-table.ts';
export {
  attachRedirect,
  type RedirectCounts,
  readRedirectCounts,
  redirectAttachments,
  redirectObstacles,
} from './redirect-object.ts';
export type { TableUsage } from './usage.ts';
