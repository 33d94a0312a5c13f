import { kmeshReason } from '@kmesh/orchestration';
import type { BpfObject } from '@kmesh/runtime';

/** Connections decided by the connect hook, by what it decided and why. */
export interface PathCount {
  readonly path: 'kernel' | 'tunnel' | 'outside' | 'refused';
  /** From a bounded set, for instance `balanced`, `unknown`, `frontend`. */
  readonly reason: string;
  readonly connections: number;
}

const reasons = Object.entries(kmeshReason).flatMap(([name, index]) => {
  const match = /^(kernel|tunnel|outside|refused)([A-Z].*)$/.exec(name);
  return match === null
    ? []
    : [{ index, path: match[1] as PathCount['path'], reason: (match[2] ?? '').toLowerCase() }];
});

/** Reads the per-CPU counters of the connect hook. */
export function readPathCounts(object: Pick<BpfObject, 'map'>): PathCount[] {
  const counters = object.map('counters');
  const key = new DataView(new ArrayBuffer(4));
  return reasons.map(({ index, path, reason }) => {
    key.setUint32(0, index, true);
    const value = counters.get(new Uint8Array(key.buffer))?.slice() ?? new Uint8Array(0);
    const perCpu = new BigUint64Array(value.buffer);
    return { path, reason, connections: Number(perCpu.reduce((sum, one) => sum + one, 0n)) };
  });
}
