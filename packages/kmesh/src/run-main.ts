import { exitCode, isKmeshError } from '@kmesh/api';
import { runCommand } from './run-command.ts';

/** Runs the executable's command and sets the exit code: 0 done, 1 failed, 2 used wrongly. Never rejects. */
export async function runMain(args: readonly string[]): Promise<void> {
  // A reader that has seen enough, such as head, ends the output and is no failure.
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
