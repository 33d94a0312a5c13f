export { KernelConnections } from './events/kernel-connections.ts';
export type { KernelEventResolver } from './events/kernel-resolver.ts';
export { createKernelResolver } from './events/kernel-resolver.ts';
export { LiveFlowReports } from './events/live-flows.ts';
export { type KernelEvents, readKernelEvents } from './events/read-kernel-events.ts';
export { KernelEnrolment } from './pods/kernel-enrolment.ts';
export { podPrograms } from './pods/run-in-namespace.ts';
export type { KernelPathConfig } from './programs/kernel-path.ts';
export { type KernelPath, startKernelPath } from './programs/kernel-path.ts';
export { pinnedHandoffs, withdrawEarlier } from './programs/pins.ts';
export { uninstall } from './programs/uninstall.ts';
export type { ConnectOutcome } from './tables/connect-outcomes.ts';
export {
  type ConnectReason,
  pathOfReason,
  readConnectCounters,
  readPerCpuCounters,
  refusedFollower,
} from './tables/counters.ts';
export type { FrontendEntry } from './tables/frontend-slots.ts';
export {
  kmeshCloseReason,
  kmeshDirection,
  kmeshEventKind,
  kmeshEventLayout,
  kmeshHandoffKeyLayout,
  kmeshHandoffLayout,
  kmeshPath,
  kmeshPickLayout,
} from './tables/gen/layouts.ts';
export { HandoffPodTable } from './tables/handoff.ts';
export {
  attachKernelObject,
  type KernelCapacities,
  type KernelProgram,
  kernelMapsOf,
  kernelPathObstacles,
  kernelPrograms,
  loadKernelObject,
} from './tables/kernel-object.ts';
export { KernelTables } from './tables/kernel-tables.ts';
