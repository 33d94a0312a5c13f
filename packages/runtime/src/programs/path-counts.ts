import type { BpfObject } from '@kmesh/linux';
import { countConnectionPath, type MetricRecorder } from '@kmesh/probe';
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

/**
 * Carries the connections that ended in the connect hook, which no path reports, over to `kmesh_connections_path_total`;
 * call before each scrape. What else the hook decides is counted there by the path that then carries the connection.
 */
export function refusedFollower(recorder: MetricRecorder, read: () => readonly PathCount[]): () => void {
  const seen = new Map<string, number>();
  return () => {
    for (const { path, reason, connections } of read()) {
      if (path !== 'refused') continue;
      const more = connections - (seen.get(reason) ?? 0);
      if (more > 0) countConnectionPath(recorder, 'refused', reason, more);
      seen.set(reason, connections);
    }
  };
}
