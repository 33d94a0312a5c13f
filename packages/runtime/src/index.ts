export { KernelConnections } from './events/kernel-connections.ts';
export type { KernelEventResolver } from './events/kernel-resolver.ts';
export { createKernelResolver } from './events/kernel-resolver.ts';
export { LiveFlowReports } from './events/live-flow-reports.ts';
export { type KernelEvents, readKernelEvents } from './events/read-kernel-events.ts';
export { KernelEnrolment } from './pods/kernel-enrolment.ts';
export type { KernelPathConfig } from './programs/kernel-path.ts';
export { type KernelPath, startKernelPath } from './programs/kernel-path.ts';
export { refusedFollower } from './programs/path-counts.ts';
export { pinnedHandoffs, withdrawEarlier } from './programs/pins.ts';
export { uninstall } from './programs/uninstall.ts';
export type { ConnectOutcome } from './tables/connect-outcomes.ts';
export type { FrontendEntry } from './tables/frontend-entry.ts';
export {
  kmeshCloseReason,
  kmeshDirection,
  kmeshEventKind,
  kmeshEventLayout,
  kmeshHandoffKeyLayout,
  kmeshHandoffLayout,
  kmeshPath,
} from './tables/gen/layouts.ts';
export { HandoffPodTable } from './tables/handoff-pod-table.ts';
export { type ConnectReason, pathOfReason, readConnectCounters } from './tables/kernel-event.ts';
export { kernelMapsOf } from './tables/kernel-maps.ts';
export {
  attachKernelObject,
  type KernelCapacities,
  type KernelProgram,
  kernelPathObstacles,
  kernelPrograms,
  loadKernelObject,
} from './tables/kernel-object.ts';
export { KernelTables } from './tables/kernel-tables.ts';
export { readPerCpuCounters } from './tables/per-cpu-counters.ts';
