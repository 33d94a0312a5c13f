import type { RefusalReason } from '@kmesh/api';
import type { BpfObject } from '@kmesh/linux';
import { countConnectionPath, type MetricRecorder } from '@kmesh/probe';
import { type kmeshPath, kmeshReason } from './gen/layouts.ts';

/** Sums the slots of a per-CPU array of counters over all CPUs. @param slots name and index of each one */
export function readPerCpuCounters<Name extends string>(
  map: { get(key: Uint8Array): Uint8Array | undefined },
  slots: Readonly<Record<Name, number>>,
): Record<Name, bigint> {
  const key = new Uint8Array(4);
  const counters: Partial<Record<Name, bigint>> = {};
  for (const [name, index] of Object.entries(slots) as [Name, number][]) {
    new DataView(key.buffer).setUint32(0, index, true);
    // A copy, because the map's buffer may be unaligned.
    const values = map.get(key)?.slice() ?? new Uint8Array(0);
    counters[name] = new BigUint64Array(values.buffer).reduce<bigint>((sum, one) => sum + one, 0n);
  }
  return counters as Record<Name, bigint>;
}

/** Reasons for the decisions of the connect hook. */
export type ConnectReason = Exclude<keyof typeof kmeshReason, 'count'>;

/** Returns counts of connections by reason since the programs were loaded. @param map the map `counters` */
export function readConnectCounters(map: {
  get(key: Uint8Array): Uint8Array | undefined;
}): Record<ConnectReason, bigint> {
  const { count: _, ...reasons } = kmeshReason;
  return readPerCpuCounters(map, reasons);
}

/** Returns the path that a reason belongs to. */
export function pathOfReason(reason: ConnectReason): keyof typeof kmeshPath {
  if (reason.startsWith('kernel')) return 'kernel';
  if (reason.startsWith('tunnel')) return 'tunnel';
  return reason.startsWith('refused') ? 'refused' : 'outside';
}

/** Count of connections decided by the connect hook, by path and reason. */
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
 * Adds the connections refused in the connect hook, which no path reports, to `kmesh_connections_path_total`;
 * call before each scrape. Other decisions of the hook are counted by the path that carries the connection.
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

/** Counts refusals of one table. */
export class RefusalCounter {
  readonly #counts: Partial<Record<RefusalReason, number>> = {};

  count(reason: RefusalReason): void {
    this.#counts[reason] = (this.#counts[reason] ?? 0) + 1;
  }

  get counts(): Readonly<Partial<Record<RefusalReason, number>>> {
    return { ...this.#counts };
  }
}
