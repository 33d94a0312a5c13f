#!/usr/bin/env node
import { cluster } from './commands.ts';
import { MissingError } from './needed.ts';
import { parseOptions, UsageError } from './options.ts';

try {
  const options = await parseOptions(process.argv.slice(2));
  if (options !== undefined) process.exitCode = await cluster(options);
} catch (error) {
  console.error(`cluster: ${error instanceof Error ? error.message : String(error)}`);
  process.exitCode =
    error instanceof MissingError ? MissingError.exitCode : error instanceof UsageError ? 2 : 1;
}
