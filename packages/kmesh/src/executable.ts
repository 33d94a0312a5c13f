/** The entry point of the single executable: one file with the names `kmesh` and `kmeshctl`. */
import { basename } from 'node:path';

const args = process.argv.slice(2);

// Each is loaded only when it is run: the daemon is to hold no command line of an operator in memory.
if (basename(process.argv0) === 'kmeshctl') void import('@kmesh/ctl').then(({ runMain }) => runMain(args));
else void import('./run-main.ts').then(({ runMain }) => runMain(args));
