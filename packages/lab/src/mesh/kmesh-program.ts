import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

/** The single executable to test instead of the sources; unset otherwise. */
const binary = process.env['KMESH_BINARY'];

/** The sources' entry point, for tests that change a module of the daemon as it is loaded. */
export const kmeshSources = fileURLToPath(new URL('../../../kmesh/src/main.ts', import.meta.url));

/** What the lab and the tests run as `kmesh`: the sources, or the single executable that `KMESH_BINARY` names. */
export const kmeshExecutable = binary ?? kmeshSources;

/** What the lab and the tests run as `kmeshctl`. */
export const kmeshctlExecutable =
  binary === undefined
    ? fileURLToPath(new URL('../../../ctl/src/main.ts', import.meta.url))
    : join(dirname(binary), 'kmeshctl');

/** The program to start and its arguments: the executable itself, or Node.js with it when it is a source. */
export function commandOf(executable: string, ...args: string[]): [program: string, args: string[]] {
  return executable.endsWith('.ts') ? [process.execPath, [executable, ...args]] : [executable, args];
}

/** What a started daemon inherits: where programs are and, so that many starts are cheap, Node's cache of compiled code. */
export function inheritedEnvironment(): NodeJS.ProcessEnv {
  const { PATH, NODE_COMPILE_CACHE } = process.env;
  return NODE_COMPILE_CACHE === undefined ? { PATH } : { PATH, NODE_COMPILE_CACHE };
}

/** Program that serves pods with a tunnel; to be forked with `serialization: 'advanced'`, see `TunnelProxyStart`. */
export const tunnelProxyProgram = fileURLToPath(new URL('./tunnel-proxy.ts', import.meta.url));
