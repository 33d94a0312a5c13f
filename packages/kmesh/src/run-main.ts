import { exitCode, isKmeshError } from '@kmesh/api';
import { runCommand } from './run-command.ts';

/**
 * Runs the executable's command and sets the exit code: 0 success, 1 failure or an unknown command (ambient contract
 * 2.1), 2 wrong usage of a command. Never rejects.
 */
export async function runMain(args: readonly string[]): Promise<void> {
  // A reader such as head may close the output early; this is not a failure.
  process.stdout.on('error', (error: NodeJS.ErrnoException) => {
    if (error.code !== 'EPIPE') throw error;
    process.exit();
  });
  try {
    process.exitCode = await runCommand(args);
  } catch (error) {
    const message = error instanceof Error ? error.message : String(error);
    process.stderr.write(`kmesh: ${message}\n`);
    if (!isKmeshError(error) && error instanceof Error && error.stack !== undefined)
      process.stderr.write(`${error.stack}\n`);
    process.exitCode = exitCode(error);
  }
}
