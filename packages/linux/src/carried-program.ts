import { createRequire } from 'node:module';
import { getAsset, getRawAsset } from 'node:sea';
import { Script } from 'node:vm';
import { KmeshError } from '@kmesh/api';

/**
 * Runs a program that the single executable carries as a bundle, a function of CommonJS, and returns what it exports. What
 * its start needs is compiled already. Only what is run is held in memory.
 *
 * @throws KMESH_PROGRAM_FILE_MISSING
 */
export function runCarriedProgram(name: string): unknown {
  const script = carriedScript(name);
  const module = { exports: {} };
  const run = script.runInThisContext() as (exports: object, require: NodeJS.Require, module: object) => void;
  run(module.exports, createRequire(process.execPath), module);
  return module.exports;
}

function carriedScript(name: string): Script {
  try {
    return new Script(getAsset(name, 'utf8'), {
      filename: name,
      cachedData: new Uint8Array(getRawAsset(`${name}.compiled`)),
    });
  } catch (cause) {
    throw new KmeshError(
      'KMESH_PROGRAM_FILE_MISSING',
      `this executable does not carry ${name}: it was built wrongly; build it with "npm run build:binary"`,
      { cause },
    );
  }
}
