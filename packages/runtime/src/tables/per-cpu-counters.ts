/** Sums the slots of a per-CPU array of counters over all CPUs. @param slots name and index of each one */
export function readPerCpuCounters<Name extends string>(
  map: { get(key: Uint8Array): Uint8Array | undefined },
  slots: Readonly<Record<Name, number>>,
): Record<Name, bigint> {
  const key = new Uint8Array(4);
  const counters: Partial<Record<Name, bigint>> = {};
  for (const [name, index] of Object.entries(slots) as [Name, number][]) {
    new DataView(key.buffer).setUint32(0, index, true);
    // A copy: what the map hands out need not be aligned.
    const values = map.get(key)?.slice() ?? new Uint8Array(0);
    counters[name] = new BigUint64Array(values.buffer).reduce<bigint>((sum, one) => sum + one, 0n);
  }
  return counters as Record<Name, bigint>;
}
