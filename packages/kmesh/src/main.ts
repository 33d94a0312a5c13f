#!/usr/bin/env node
import { exitCode, isKmeshError } from '@kmesh/api';
import { runCommand } from './run-command.ts';

try {
  process.exitCode = await runCommand(process.argv.slice(2));
} catch (error) {
  const message = error instanceof Error ? error.message : String(error);
  process.stderr.write(`kmesh: ${message}\n`);
  if (!isKmeshError(error) && error instanceof Error && error.stack !== undefined)
    process.stderr.write(`${error.stack}\n`);
  process.exitCode = exitCode(error);
}
