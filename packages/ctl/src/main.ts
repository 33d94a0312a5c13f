#!/usr/bin/env node
import { exitCode } from '@kmesh/api';
import { commandLine } from './command-line.ts';

// A reader that has seen enough, such as head, ends the output and is no failure.
process.stdout.on('error', (error: NodeJS.ErrnoException) => {
  if (error.code !== 'EPIPE') throw error;
  process.exit();
});

try {
  await commandLine(
    process.argv.slice(2),
    (text) => process.stdout.write(text),
    (code) => {
      process.exitCode = code;
    },
  ).parseAsync();
} catch (error) {
  console.error(`kmeshctl: ${error instanceof Error ? error.message : String(error)}`);
  process.exitCode = exitCode(error);
}
