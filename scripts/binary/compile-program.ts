/**
 * Runs one program as in the single executable, up to the point where it would need that executable, and writes V8's
 * compiled code of it: `compile-program.ts <program> <output>`. Code that runs at module load is compiled then.
 */
import { readFileSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { basename } from 'node:path';
import { Script } from 'node:vm';

const [program = '', output = ''] = process.argv.slice(2);
const script = new Script(readFileSync(program, 'latin1'), { filename: basename(program) });
const module = { exports: {} };
try {
  script.runInThisContext()(module.exports, createRequire(process.execPath), module);
} catch (error) {
  // The program of a thread has no parent thread when its modules are loaded.
  if (!(error instanceof TypeError)) throw error;
}
writeFileSync(output, script.createCachedData());
process.exit(0);
