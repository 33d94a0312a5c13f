import type { Argv } from 'yargs';
import { type AdminClient, adminClient } from '../admin-client.ts';
import type { OutputFormat } from '../output.ts';

/** What every command may do with its outcome. */
export interface CommandContext {
  readonly print: (text: string) => void;
  /** Sets the exit code; 0 when it is not called. */
  readonly exit: (code: number) => void;
}

/** Arguments that every command has. */
interface CommonArguments {
  readonly admin: string;
  readonly output: OutputFormat;
}

/** Exit code of a command that ran but whose answer is bad news. */
export const BAD_NEWS = 3;

/** A yargs handler that prints what `render` makes of the daemon's answers. */
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
