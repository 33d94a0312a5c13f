import type { DemoOptions } from '@kmesh/lab';
/**
 * Reads the arguments of `kmesh demo`.
 *
 * @throws KMESH_USAGE for an unknown option, KMESH_CONFIG_INVALID for a bad duration.
 */
export declare function demoOptions(args: readonly string[]): DemoOptions;
