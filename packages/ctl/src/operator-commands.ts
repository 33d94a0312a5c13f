import type { ConnectionsView, TablesView, Why } from '@kmesh/api';
import type { Argv } from 'yargs';
import { adminClient } from './admin-client.ts';
import { BAD_NEWS, type CommandContext, handler, namespaced, repeat } from './handler.ts';
import { metrics } from './metrics.ts';
import {
  type ConnectionsOptions,
  connections,
  connectionsPath,
  log,
  tables,
  tablesPath,
  why,
  whyPath,
} from './views.ts';

/** Adds the commands about the daemon's decisions and traffic, and about this machine. */
export function operatorCommands(root: Argv, context: CommandContext): Argv {
  connectionsCommand(root, context);
  whyCommand(root, context);
  tablesCommand(root, context);
  checkCommand(root, context);
  logCommand(root, context);
  metricsCommand(root, context);
  return root;
}

function connectionsCommand(root: Argv, context: CommandContext): void {
  root.command(
    ['connections [text]', 'connection', 'cons'],
    'live connections, busiest first',
    (argv) =>
      namespaced(argv)
        .positional('text', {
          type: 'string',
          describe: 'only connections whose workload or service name contains this',
        })
        .option('path', { choices: ['kernel', 'tunnel'], describe: 'only this path' })
        .option('limit', { type: 'number', default: 50, describe: 'maximum number, 1 to 10000' })
        .option('watch', {
          alias: 'w',
          type: 'boolean',
          default: false,
          describe: 'refresh until interrupted',
        })
        .option('interval', { type: 'number', default: 2, describe: 'seconds between refreshes' })
        .example('$0 connections shop/web -w', 'live traffic of one service'),
    async (options) => {
      const { admin, output, watch, interval, ...asked } = options as unknown as ConnectionsOptions & {
        admin: string;
        output: 'short' | 'wide' | 'json' | 'yaml';
        watch: boolean;
        interval: number;
      };
      const client = adminClient(admin);
      const look = async () =>
        connections((await client.json(connectionsPath(asked))) as ConnectionsView, output);
      if (watch)
        await repeat(look, context.print, {
          seconds: interval,
          clear: output === 'short' || output === 'wide',
        });
      else context.print(await look());
    },
  );
}

function whyCommand(root: Argv, context: CommandContext): void {
  root.command(
    'why <source> <destination>',
    'explain each step of the decision about a connection, without sending anything',
    (argv) =>
      argv
        .positional('source', {
          type: 'string',
          demandOption: true,
          describe: 'namespace/name of a pod, or its IP',
        })
        .positional('destination', {
          type: 'string',
          demandOption: true,
          describe: 'IP, namespace/name of a service or pod, or host name; optionally with :port',
        })
        .example(
          '$0 why shop/cart-1 shop/web:80',
          'whether it would be allowed, its destination and its path',
        )
        .example('$0 why 10.0.0.7 [fd00:96::1]:443', 'the same by address'),
    handler<{ source: string; destination: string }>(context, async (client, options) => {
      const answer = (await client.json(whyPath(options.source, options.destination))) as Why;
      if (answer.verdict !== 'allowed') context.exit(BAD_NEWS);
      return why(answer, options.output);
    }),
  );
}

function tablesCommand(root: Argv, context: CommandContext): void {
  root.command(
    ['tables [address]', 'table'],
    'usage of the kernel tables, or the entries of one address',
    (argv) => argv.positional('address', { type: 'string', describe: 'IP of a service or workload' }),
    handler<{ address: string | undefined }>(context, async (client, { address, output }) =>
      tables((await client.json(tablesPath(address))) as TablesView, output),
    ),
  );
}

function checkCommand(root: Argv, context: CommandContext): void {
  root.command(
    'check',
    'check this machine: kernel, mounts, other programs at the same hooks; works without a daemon',
    (argv) =>
      argv
        .option('cgroup', {
          type: 'string',
          default: process.env['KMESH_CGROUP'],
          describe:
            "cgroup that Kmesh serves (environment: KMESH_CGROUP); default: the daemon's, else all of cgroup v2",
        })
        .option('agent-socket', {
          type: 'string',
          default: process.env['INPOD_UDS'],
          describe: "socket of the CNI agent (environment: INPOD_UDS); default: the daemon's",
        }),
    handler<{ cgroup: string | undefined; agentSocket: string | undefined }>(
      context,
      async (client, options) => {
        // Loaded only here: the other commands start faster without the native addon.
        const { check, checkMachine, hasProblem } = await import('./check.ts');
        const report = await checkMachine(client, options);
        if (hasProblem(report)) context.exit(BAD_NEWS);
        return check(report, options.output);
      },
    ),
  );
}

function logCommand(root: Argv, context: CommandContext): void {
  root.command(
    'log [level]',
    'show or set the log level of the daemon',
    (argv) =>
      argv
        .positional('level', {
          type: 'string',
          describe: 'off, error, warn, info, debug or trace; or scope=level, several with commas',
        })
        .option('reset', {
          type: 'boolean',
          default: false,
          describe: 'first restore the level of the start',
        })
        .example('$0 log access=debug', 'also log each opened connection')
        .example('$0 log --reset', 'restore the level of the start'),
    handler<{ level: string | undefined; reset: boolean }>(context, (client, options) =>
      log(client, options, options.output),
    ),
  );
}

function metricsCommand(root: Argv, context: CommandContext): void {
  root.command(
    ['metrics [filter]', 'metric'],
    'metrics of the daemon',
    (argv) =>
      argv
        .positional('filter', {
          type: 'string',
          describe: 'regular expression, matched against the name and label=value',
        })
        .option('stats', {
          type: 'string',
          default: process.env['KMESH_STATS'] ?? 'http://localhost:15020',
          describe: 'metrics port of the daemon (environment: KMESH_STATS)',
        })
        .example('$0 metrics xds', 'state of the control plane connection'),
    async (options) => {
      const { stats, filter, output } = options as unknown as {
        stats: string;
        filter: string | undefined;
        output: 'short' | 'wide' | 'json' | 'yaml';
      };
      context.print(metrics(await adminClient(stats, '--stats').text('/metrics'), filter, output));
    },
  );
}
