#!/usr/bin/env node
import { ensureEngineOptions } from './engine-options.ts';

const args = process.argv.slice(2);
if ((args[0] ?? 'proxy') === 'proxy') ensureEngineOptions();

// Loaded only now: with other options the process begins anew, and all of this a second time.
const { exitCode, isKmeshError } = await import('@kmesh/api');
const { runCommand } = await import('./run-command.ts');

try {
  process.exitCode = await runCommand(args);
} catch (error) {
  const message = error instanceof Error ? error.message : String(error);
  process.stderr.write(`kmesh: ${message}\n`);
  if (!isKmeshError(error) && error instanceof Error && error.stack !== undefined)
    process.stderr.write(`${error.stack}\n`);
  process.exitCode = exitCode(error);
}
