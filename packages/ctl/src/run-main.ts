import { exitCode, KmeshError } from '@kmesh/api';
import yargs, { type Argv } from 'yargs';
import packageJson from '../package.json' with { type: 'json' };
import type { CommandContext } from './handler.ts';
import { meshCommands } from './mesh-commands.ts';
import { operatorCommands } from './operator-commands.ts';
import { outputFormats } from './output.ts';

/** Runs kmeshctl's command line and sets the exit code. Never rejects. */
export async function runMain(args: readonly string[]): Promise<void> {
  // A reader such as head may close the output early; this is not a failure.
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

/**
 * Returns the command line of kmeshctl. Only commands contact the daemon, so help works without it.
 *
 * @param exit receives exit code 3 from a command that reports a denial or a problem
 */
export function commandLine(
  args: readonly string[],
  print: (text: string) => void,
  exit: (code: number) => void = () => undefined,
): Argv {
  const context: CommandContext = { print, exit };
  const root = yargs([...args])
    .scriptName('kmeshctl')
    .usage('$0 <command>\n\nShows the state, decisions and traffic of the Kmesh node proxy on this machine.')
    .option('admin', {
      type: 'string',
      default: process.env['KMESH_ADMIN'] ?? 'http://localhost:15000',
      describe: 'admin API of the daemon (environment: KMESH_ADMIN)',
    })
    .option('output', {
      alias: 'o',
      choices: outputFormats,
      default: 'short' as const,
      describe: 'format of the output',
    });
  const version = `kmeshctl ${packageJson.version}`;
  return operatorCommands(meshCommands(root, context), context)
    .command('version', 'print the version of kmeshctl', {}, () => context.print(`${version}\n`))
    .completion('completion', 'print a completion script for bash or zsh')
    .demandCommand(1, 'name a command')
    .strict()
    .recommendCommands()
    .version('version', 'print the version of kmeshctl', version)
    .help()
    .alias('help', 'h')
    .epilogue(
      'Exit codes: 0 success; 1 failure; 2 wrong usage; 3 a negative result (why: not allowed, check: a problem).',
    )
    .wrap(Math.min(110, process.stdout.columns ?? 110))
    .fail((message, error) => {
      throw (
        error ??
        new KmeshError(
          'KMESH_USAGE',
          `${message?.replace(/\s*\n\s*/g, ' ')}; kmeshctl --help lists the commands`,
        )
      );
    });
}
