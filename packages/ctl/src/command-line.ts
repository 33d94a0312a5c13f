import { KmeshError } from '@kmesh/api';
import yargs, { type Argv } from 'yargs';
import { type AdminClient, adminClient } from './admin-client.ts';
import { certificates, policies, services, workloads } from './commands/mesh.ts';
import { readConfigDump } from './config-dump.ts';
import { type OutputFormat, outputFormats } from './output.ts';

interface CommonArguments {
  readonly admin: string;
  readonly output: OutputFormat;
  readonly namespace: string | undefined;
}

/** The command line of kmeshctl. Nothing is contacted until a command runs, so help needs no daemon. */
export function commandLine(args: readonly string[], print: (text: string) => void): Argv {
  const mesh =
    (render: (client: AdminClient, options: CommonArguments) => Promise<string>) =>
    async (options: unknown): Promise<void> => {
      const common = options as CommonArguments;
      print(await render(adminClient(common.admin), common));
    };
  const namespaced = (argv: Argv): Argv =>
    argv.option('namespace', { alias: 'n', type: 'string', describe: 'only this namespace' });

  return yargs([...args])
    .scriptName('kmeshctl')
    .usage('$0 <command>\n\nShows what the Kmesh node proxy on this machine knows, decides and carries.')
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
    })
    .command(
      ['workloads', 'workload', 'w'],
      'workloads of the mesh',
      namespaced,
      mesh(async (client, { output, namespace }) =>
        workloads(await readConfigDump(client), output, { namespace }),
      ),
    )
    .command(
      ['services', 'service', 'svc'],
      'services and how many of their endpoints are healthy',
      namespaced,
      mesh(async (client, { output, namespace }) =>
        services(await readConfigDump(client), output, { namespace }),
      ),
    )
    .command(
      ['policies', 'policy', 'pol'],
      'authorization policies',
      namespaced,
      mesh(async (client, { output, namespace }) =>
        policies(await readConfigDump(client), output, { namespace }),
      ),
    )
    .command(
      ['certificates', 'certificate', 'certs'],
      'certificates that the daemon holds',
      (argv) => argv,
      mesh(async (client, { output }) => certificates(await readConfigDump(client), output)),
    )
    .completion('completion', 'print a completion script for bash or zsh')
    .demandCommand(1, 'name a command')
    .strict()
    .recommendCommands()
    .version(false)
    .help()
    .alias('help', 'h')
    .wrap(Math.min(110, process.stdout.columns ?? 110))
    .fail((message, error) => {
      throw error ?? new KmeshError('KMESH_USAGE', `${message}; kmeshctl --help lists the commands`);
    });
}
