import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { imageSearchPath } from './image-programs.ts';

/** The single executable to test instead of the sources; unset otherwise. */
const binary = process.env['KMESH_BINARY'];

/** The sources' entry point, for tests that replace a module of the daemon at load time. */
export const kmeshSources = fileURLToPath(new URL('../../../kmesh/src/main.ts', import.meta.url));

/** `kmesh` for the lab and the tests: the sources, or the single executable that `KMESH_BINARY` names. */
export const kmeshExecutable = binary ?? kmeshSources;

/** `kmeshctl` for the lab and the tests. */
export const kmeshctlExecutable =
  binary === undefined
    ? fileURLToPath(new URL('../../../ctl/src/main.ts', import.meta.url))
    : join(dirname(binary), 'kmeshctl');

/** Returns the program to start and its arguments: the executable itself, or Node.js with a source file. */
export function commandOf(executable: string, ...args: string[]): [program: string, args: string[]] {
  return executable.endsWith('.ts') ? [process.execPath, [executable, ...args]] : [executable, args];
}

/** Environment of a started daemon: the image's programs and, to make repeated starts cheap, Node's compile cache. */
export function inheritedEnvironment(): NodeJS.ProcessEnv {
  const PATH = imageSearchPath();
  const { NODE_COMPILE_CACHE } = process.env;
  return NODE_COMPILE_CACHE === undefined ? { PATH } : { PATH, NODE_COMPILE_CACHE };
}

/** Program that serves pods with a tunnel; to be forked with `serialization: 'advanced'`, see `TunnelProxyStart`. */
export const tunnelProxyProgram = fileURLToPath(new URL('./tunnel-proxy.ts', import.meta.url));
