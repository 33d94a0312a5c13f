/** Thoroughness of a run; `main.ts` sets the variables for the suites that it starts. */

/** Whether the run was started with `--quick`: figures for development, never stored. */
export const quick = process.env['KMESH_BENCH_QUICK'] === '1';

/** Returns the rounds of a suite: `KMESH_BENCH_ROUNDS`, else at most two in a quick run, else `full`. */
export function rounds(full: number): number {
  return Number(process.env['KMESH_BENCH_ROUNDS'] ?? (quick ? Math.min(full, 2) : full));
}

/**
 * Returns the largest mesh to measure, in workloads: `KMESH_BENCH_WORKLOADS`, else 10,000 in a quick run, else no
 * limit.
 */
export function largestMesh(): number {
  return Number(process.env['KMESH_BENCH_WORKLOADS'] ?? (quick ? 10_000 : Number.POSITIVE_INFINITY));
}
