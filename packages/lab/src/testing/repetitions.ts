/**
 * Returns the number of repetitions of a test: `full` with `KMESH_TEST_LONG`, which `npm run test:long` sets, else
 * `ci`, which must still be enough to fail.
 */
export function repetitions({ ci, full }: { readonly ci: number; readonly full: number }): number {
  return Number(process.env['KMESH_TEST_LONG'] ?? 0) > 0 ? full : ci;
}
