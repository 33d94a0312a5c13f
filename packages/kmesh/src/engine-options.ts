import { fileURLToPath } from 'node:url';
import { setFlagsFromString } from 'node:v8';

/**
 * V8's options for the control thread of the node proxy. They count only from the start of the process.
 *
 * A small young generation: with V8's own choice the garbage of a large push adds 80 MiB to the resident memory, and
 * single collections take longer. An old generation that may grow to 192 MiB before it is collected for the first time:
 * a first push of 100,000 workloads fits, and is not stopped for the 15 to 20 ms of such a collection.
 */
export const engineOptions: readonly string[] = ['--max-semi-space-size=4', '--initial-old-space-size=192'];

/**
 * The C library's options, as environment variables, which count only from the start of the process as well.
 *
 * With its own choice every thread frees into an arena of its own and the threshold for memory that goes back to the
 * kernel at once grows with what was freed: a large push leaves 50 MiB that nobody uses.
 */
const allocatorOptions: Readonly<Record<string, string>> = {
  MALLOC_ARENA_MAX: '2',
  MALLOC_MMAP_THRESHOLD_: '131072',
  MALLOC_TRIM_THRESHOLD_: '131072',
};

/**
 * Where Node.js keeps modules as it compiled them. Without it the compiler that takes the types away is loaded into
 * every thread, and stays: 40 MiB. Beside the sources, because whoever may write there decides what the daemon runs.
 */
const compileCache = fileURLToPath(new URL('../../../build/compile-cache', import.meta.url));

/**
 * Begins this process anew with {@link engineOptions}, in place: same process id, arguments and streams, and the same
 * environment with a few variables more for the allocator and the module loader. Options and variables that were given by
 * hand stay as they are. Returns when there is nothing to add, or no way to do so.
 */
export function ensureEngineOptions(): void {
  const missing = engineOptions.filter(
    (option) => !process.execArgv.some((given) => sameName(given, option)),
  );
  if (missing.length === 0) {
    // Threads that are started from here on get V8's own choice.
    setFlagsFromString('--initial-old-space-size=0');
    return;
  }
  if (process.execve === undefined) return;
  // Nobody needs to be told that the function is new: the warning would be the first line of every log.
  process.removeAllListeners('warning');
  process.execve(
    process.execPath,
    [process.execPath, ...missing, ...process.execArgv, ...process.argv.slice(1)],
    engineEnvironment(process.env),
  );
}

/** The environment of a process that is to start with {@link engineOptions}. */
export function engineEnvironment(environment: NodeJS.ProcessEnv): Record<string, string> {
  const given: Record<string, string> = { ...allocatorOptions };
  if (import.meta.filename.endsWith('.ts')) given['NODE_COMPILE_CACHE'] = compileCache;
  for (const [name, value] of Object.entries(environment)) if (value !== undefined) given[name] = value;
  return given;
}

function sameName(left: string, right: string): boolean {
  return nameOf(left) === nameOf(right);
}

function nameOf(option: string): string {
  return option.replaceAll('_', '-').replace(/^-+/, '').split('=')[0] ?? '';
}
