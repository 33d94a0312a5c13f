import { parseArgs } from 'node:util';
import { KmeshError } from '@kmesh/api';
import { parseDuration } from '@kmesh/controller';
import type { DemoOptions } from '@kmesh/lab';

/**
 * Reads the arguments of `kmesh demo`.
 *
 * @throws KMESH_USAGE for an unknown option or a bad duration
 */
export function demoOptions(args: readonly string[]): DemoOptions {
  try {
    const { values } = parseArgs({
      args: [...args],
      options: { for: { type: 'string' }, json: { type: 'boolean' }, local: { type: 'string' } },
      strict: true,
    });
    return {
      forMilliseconds: values.for === undefined ? undefined : parseDuration('--for', values.for),
      json: values.json ?? false,
      local: values.local,
    };
  } catch (error) {
    throw new KmeshError(
      'KMESH_USAGE',
      `${error instanceof Error ? error.message : String(error)}; kmesh help lists the options`,
      {
        cause: error,
      },
    );
  }
}
