import { setTimeout as delay } from 'node:timers/promises';
import { KmeshError } from '@kmesh/api';
import type { Argv } from 'yargs';
import { type AdminClient, adminClient } from './admin-client.ts';
import type { OutputFormat } from './output.ts';

/** How a command reports its outcome. */
export interface CommandContext {
  readonly print: (text: string) => void;
  /** Sets the exit code; default 0. */
  readonly exit: (code: number) => void;
}

/** Arguments that every command has. */
interface CommonArguments {
  readonly admin: string;
  readonly output: OutputFormat;
}

/** Exit code of a command that ran and reports a denial or a problem. */
export const BAD_NEWS = 3;

/** Returns a yargs handler that prints the result of `render`. */
export function handler<Arguments>(
  context: CommandContext,
  render: (client: AdminClient, options: CommonArguments & Arguments) => Promise<string>,
): (options: unknown) => Promise<void> {
  return async (options) => {
    const common = options as CommonArguments & Arguments;
    context.print(await render(adminClient(common.admin), common));
  };
}

/** Adds `--namespace`. */
export function namespaced(argv: Argv): Argv {
  return argv.option('namespace', { alias: 'n', type: 'string', describe: 'only this namespace' });
}

/** Options of {@link repeat}. */
interface RepeatOptions {
  readonly seconds: number;
  /** Overwrites the previous output if stdout is a terminal. */
  readonly clear: boolean;
  /** Stops, as Ctrl-C does. */
  readonly signal?: AbortSignal;
}

const shortestSeconds = 0.1;

/**
 * Prints the result of `look` periodically until Ctrl-C. After a first success, failures are printed and retried, so that a
 * restart of the daemon can be watched.
 *
 * @throws KmeshError `KMESH_USAGE` if the interval is too short; errors of the first `look`
 */
export async function repeat(
  look: () => Promise<string>,
  print: (text: string) => void,
  options: RepeatOptions,
): Promise<void> {
  if (!(options.seconds >= shortestSeconds)) {
    throw new KmeshError('KMESH_USAGE', `--interval must be at least ${shortestSeconds} seconds`);
  }
  const interrupted = new AbortController();
  const stop = (): void => interrupted.abort();
  const signals = options.signal === undefined ? [interrupted.signal] : [interrupted.signal, options.signal];
  const signal = AbortSignal.any(signals);
  const over = options.clear && process.stdout.isTTY === true;
  process.on('SIGINT', stop);
  try {
    let text = await look();
    while (!signal.aborted) {
      print(over ? `\x1b[H${text.replaceAll('\n', '\x1b[K\n')}\x1b[J` : text);
      await delay(options.seconds * 1000, undefined, { signal }).catch(() => undefined);
      if (signal.aborted) return;
      text = await look().catch(
        (error: unknown) => `${error instanceof Error ? error.message : String(error)}\n`,
      );
    }
  } finally {
    process.off('SIGINT', stop);
  }
}
