/** Runs one command of the executable (ambient contract 2.1) and returns its exit code. */
export declare function runCommand(args: readonly string[]): Promise<number>;
