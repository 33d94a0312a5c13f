import { execFileSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

/**
 * Returns the path of the executable to measure: `KMESH_BINARY`, or `dist/kmesh`, which is built from the sources.
 *
 * @throws if the file that `KMESH_BINARY` names does not exist
 */
export function executableToMeasure(): string {
  const named = process.env['KMESH_BINARY'];
  if (named !== undefined) {
    if (!existsSync(named)) throw new Error(`KMESH_BINARY: ${named} is not there`);
    return named;
  }
  console.error('bench: building dist/kmesh');
  const program = fileURLToPath(new URL('../../scripts/build-binary.ts', import.meta.url));
  execFileSync(process.execPath, [program], { stdio: ['ignore', 2, 2] });
  return fileURLToPath(new URL('../../dist/kmesh', import.meta.url));
}
