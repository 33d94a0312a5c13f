/**
 * Runs one program as the single executable will, up to where it would need that executable, and writes what V8 compiled
 * of it: `compile-program.ts <program> <output>`. What its modules do when they are loaded is compiled then.
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
  // The program of a thread finds none that started it, when its modules are loaded.
  if (!(error instanceof TypeError)) throw error;
}
writeFileSync(output, script.createCachedData());
process.exit(0);
