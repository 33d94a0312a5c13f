/** Entry point of the single executable: one file under the names `kmesh` and `kmeshctl`. */
import { basename } from 'node:path';
import { runCarriedProgram } from '@kmesh/linux';

const args = process.argv.slice(2);

// Loaded separately: the daemon should not keep the code of kmeshctl in memory.
if (basename(process.argv0) === 'kmeshctl') {
  const { runMain } = runCarriedProgram('kmeshctl.js') as typeof import('@kmesh/ctl');
  void runMain(args);
} else {
  const { runMain } = runCarriedProgram('kmesh.js') as typeof import('./run-main.ts');
  void runMain(args);
}
