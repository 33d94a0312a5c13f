/** Entry point of threads in the single executable: runs the program that the last argument names. */
import { runCarriedProgram } from './program-files.ts';

runCarriedProgram(process.argv.at(-1) ?? '');

// An idle thread allocates too little for its garbage collector to ever free start-up memory.
setTimeout(() => globalThis.gc?.({ type: 'major', execution: 'sync', flavor: 'last-resort' }), 2_000).unref();
