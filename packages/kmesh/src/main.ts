#!/usr/bin/env node
import { exitCode, isKmeshError } from '@kmesh/api';
import { runCommand } from './run-command.ts';

// A reader that has seen enough, such as head, ends the output and is no failure.
process.stdout.on('error', (error: NodeJS.ErrnoException) => {
  if (error.code !== 'EPIPE') throw error;
  process.exit();
});

try {
  process.exitCode = await runCommand(process.argv.slice(2));
} catch (error) {
  const message = error instanceof Error ? error.message : String(error);
  process.stderr.write(`kmesh: ${message}\n`);
  if (!isKmeshError(error) && error instanceof Error && error.stack !== undefined)
    process.stderr.write(`${error.stack}\n`);
  process.exitCode = exitCode(error);
}
