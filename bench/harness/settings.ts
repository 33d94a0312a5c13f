/** How thorough a run is; `main.ts` sets the variables for the suites that it starts. */

/** Whether the run was started with `--quick`: figures for developing, never stored. */
export const quick = process.env['KMESH_BENCH_QUICK'] === '1';

/** Rounds of a suite: `KMESH_BENCH_ROUNDS`, else at most two of a quick run, else as many as the suite takes. */
export function rounds(full: number): number {
  return Number(process.env['KMESH_BENCH_ROUNDS'] ?? (quick ? Math.min(full, 2) : full));
}

/** The largest mesh of suites that grow one: `KMESH_BENCH_WORKLOADS`, else 10,000 of a quick run, else all. */
export function largestMesh(): number {
  return Number(process.env['KMESH_BENCH_WORKLOADS'] ?? (quick ? 10_000 : Number.POSITIVE_INFINITY));
}
