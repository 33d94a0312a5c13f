import type { BpfObject } from '@kmesh/linux';
import { type ConnectReason, pathOfReason, readConnectCounters } from '../tables/kernel-event.ts';

/** Connections decided by the connect hook, by what it decided and why. */
export interface PathCount {
  readonly path: ReturnType<typeof pathOfReason>;
  /** From a bounded set, for instance `balanced`, `unknown`, `frontend`. */
  readonly reason: string;
  readonly connections: number;
}

/** Reads the per-CPU counters of the connect hook. */
export function readPathCounts(object: Pick<BpfObject, 'map'>): PathCount[] {
  const counters = readConnectCounters(object.map('counters'));
  return (Object.entries(counters) as [ConnectReason, bigint][]).map(([name, connections]) => {
    const path = pathOfReason(name);
    return { path, reason: name.slice(path.length).toLowerCase(), connections: Number(connections) };
  });
}
