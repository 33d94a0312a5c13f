/**
 * V8's options for the control thread of the node proxy. They count only from the start of the process.
 *
 * A small young generation: with V8's own choice the garbage of a large push adds 80 MiB to the resident memory, and
 * single collections take longer. An old generation that may grow to 192 MiB before it is collected for the first time:
 * a first push of 100,000 workloads fits, and is not stopped for the 15 to 20 ms of such a collection.
 */
export declare const engineOptions: readonly string[];
/**
 * Begins this process anew with {@link engineOptions}, in place: same process id, arguments and streams, and the same
 * environment with a few variables more for the allocator and the module loader. Options and variables that were given by
 * hand stay as they are. Returns when there is nothing to add, or no way to do so.
 */
export declare function ensureEngineOptions(): void;
/** The environment of a process that is to start with {@link engineOptions}. */
export declare function engineEnvironment(environment: NodeJS.ProcessEnv): Record<string, string>;
