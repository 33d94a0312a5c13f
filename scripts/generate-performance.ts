/**
 * Writes docs/performance.md and its charts from bench/results, as `npm run bench -- report` does. `--check` writes nothing
 * and fails when a committed file differs.
 */
import { staleFiles, writeReport } from '../bench/page/write.ts';

if (process.argv.includes('--check')) {
  for (const path of staleFiles()) {
    console.error(`${path} differs from bench/results; run: npm run generate`);
    process.exitCode = 1;
  }
} else {
  writeReport();
}
