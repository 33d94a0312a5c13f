/** What a thread of the single executable runs: the program that the last argument names. */
import { runCarriedProgram } from './program-files.ts';

runCarriedProgram(process.argv.at(-1) ?? '');

// A thread allocates so little at rest that its collector would leave what only its start needed for ever.
setTimeout(() => globalThis.gc?.({ type: 'major', execution: 'sync', flavor: 'last-resort' }), 2_000).unref();
