import { exitCode } from '@kmesh/api';
import { commandLine } from './command-line.ts';

/** Runs kmeshctl's command line and sets the exit code. Never rejects. */
export async function runMain(args: readonly string[]): Promise<void> {
  // A reader that has seen enough, such as head, ends the output and is no failure.
  process.stdout.on('error', (error: NodeJS.ErrnoException) => {
    if (error.code !== 'EPIPE') throw error;
    process.exit();
  });
  try {
    await commandLine(
      args,
      (text) => process.stdout.write(text),
      (code) => {
        process.exitCode = code;
      },
    ).parseAsync();
  } catch (error) {
    console.error(`kmeshctl: ${error instanceof Error ? error.message : String(error)}`);
    process.exitCode = exitCode(error);
  }
}
