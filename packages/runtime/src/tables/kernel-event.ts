import { type kmeshPath, kmeshReason } from './gen/layouts.ts';
import { readPerCpuCounters } from './per-cpu-counters.ts';

/** Why connects were decided as they were, since the programs were loaded. */
export type ConnectReason = Exclude<keyof typeof kmeshReason, 'count'>;

/** Connections by why they were decided as they were, since the programs were loaded. @param map the map `counters` */
export function readConnectCounters(map: {
  get(key: Uint8Array): Uint8Array | undefined;
}): Record<ConnectReason, bigint> {
  const { count: _, ...reasons } = kmeshReason;
  return readPerCpuCounters(map, reasons);
}

/** The path that a reason belongs to. */
export function pathOfReason(reason: ConnectReason): keyof typeof kmeshPath {
  if (reason.startsWith('kernel')) return 'kernel';
  if (reason.startsWith('tunnel')) return 'tunnel';
  return reason.startsWith('refused') ? 'refused' : 'outside';
}
