export { type AliasSlot, buildAliasTable } from './alias-table.ts';
export {
  type LiveFlows,
  LiveFlowTable,
  liveFlowsObstacles,
  prepareLiveFlows,
} from './flows-object.ts';
export type { FrontendAction, FrontendEntry } from './frontend-entry.ts';
export * from './gen/layouts.ts';
export { type HandoffPodMap, HandoffPodTable } from './handoff-pod-table.ts';
export {
  type ConnectReason,
  decodeKernelEvent,
  type EventAddress,
  KERNEL_EVENT_SIZE,
  type KernelEvent,
  pathOfReason,
  readConnectCounters,
} from './kernel-event.ts';
export {
  type EntryTable,
  entryTableOf,
  type KernelMaps,
  kernelMapsOf,
  type MapMemory,
} from './kernel-maps.ts';
export {
  attachKernelObject,
  type KernelCapacities,
  type KernelObjectOptions,
  type KernelProgram,
  kernelPathObstacles,
  kernelPrograms,
  loadKernelObject,
} from './kernel-object.ts';
export { KernelTables, type KernelTablesOptions } from './kernel-tables.ts';
export { readPerCpuCounters } from './per-cpu-counters.ts';
export { PodAddressTable } from './pod-address-table.ts';
export { PodTable } from './pod-table.ts';
export type { RefusalReason, TableUsage } from './usage.ts';
