/**
 * Returns how often a test repeats what it proves: `full` times where `KMESH_TEST_LONG` is set, as `npm run test:long` does,
 * and `ci` times in every other run, which must still be enough to fail.
 */
export function repetitions({ ci, full }: { readonly ci: number; readonly full: number }): number {
  return Number(process.env['KMESH_TEST_LONG'] ?? 0) > 0 ? full : ci;
}
