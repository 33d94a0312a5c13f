/** Thoroughness of a run; `main.ts` sets the variables for the suites that it starts. */

/** Whether the run was started with `--quick`: figures for development, never stored. */
export const quick = process.env['KMESH_BENCH_QUICK'] === '1';

/** Whether all suites run, which may take 20 minutes together. */
export const whole = process.env['KMESH_BENCH_WHOLE'] === '1';

/**
 * Returns the rounds of a suite: `KMESH_BENCH_ROUNDS`, else at most two in a quick run, else `full`; `amongAll` if all
 * suites run.
 */
export function rounds(full: number, amongAll = full): number {
  const planned = whole ? amongAll : full;
  return Number(process.env['KMESH_BENCH_ROUNDS'] ?? (quick ? Math.min(planned, 2) : planned));
}

/**
 * Returns the largest mesh to measure, in workloads: `KMESH_BENCH_WORKLOADS`, else 10,000 in a quick run, else no
 * limit.
 */
export function largestMesh(): number {
  return Number(process.env['KMESH_BENCH_WORKLOADS'] ?? (quick ? 10_000 : Number.POSITIVE_INFINITY));
}
