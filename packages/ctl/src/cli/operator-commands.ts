import type { ConnectionsView, TablesView, Why } from '@kmesh/api';
import type { Argv } from 'yargs';
import { adminClient } from '../admin-client.ts';
import { check, hasProblem } from '../commands/check.ts';
import { type ConnectionsOptions, connections, connectionsPath } from '../commands/connections.ts';
import { log } from '../commands/log.ts';
import { metrics } from '../commands/metrics.ts';
import { tables, tablesPath } from '../commands/tables.ts';
import { why, whyPath } from '../commands/why.ts';
import { BAD_NEWS, type CommandContext, handler, namespaced } from './context.ts';
import { repeat } from './watch.ts';

/** What the daemon decides and carries, and whether this machine suits it. */
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
    'live connections, the busiest first',
    (argv) =>
      namespaced(argv)
        .positional('text', {
          type: 'string',
          describe: 'only where a workload or service has this in its name',
        })
        .option('path', { choices: ['kernel', 'tunnel'], describe: 'only this path' })
        .option('limit', { type: 'number', default: 50, describe: 'how many at most, 1 to 10000' })
        .option('watch', {
          alias: 'w',
          type: 'boolean',
          default: false,
          describe: 'show them again and again',
        })
        .option('interval', { type: 'number', default: 2, describe: 'seconds between two looks' })
        .example('$0 connections shop/web -w', 'what goes on at one service'),
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
    'each step of the decision about a connection; nothing is sent',
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
          describe: 'IP, namespace/name of a service or pod, or host name; with :port if you like',
        })
        .example('$0 why shop/cart-1 shop/web:80', 'would it be allowed, where would it go, on which path')
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
    'what is in the kernel: how full the tables are, or the entries of one address',
    (argv) => argv.positional('address', { type: 'string', describe: 'IP of a service or workload' }),
    handler<{ address: string | undefined }>(context, async (client, { address, output }) =>
      tables((await client.json(tablesPath(address))) as TablesView, output),
    ),
  );
}

function checkCommand(root: Argv, context: CommandContext): void {
  root.command(
    'check',
    'whether this machine suits Kmesh: kernel, mounts, other software at the same hooks; also without a daemon',
    (argv) =>
      argv
        .option('cgroup', {
          type: 'string',
          default: process.env['KMESH_CGROUP'],
          describe: 'cgroup that Kmesh serves (environment: KMESH_CGROUP); all of cgroup v2 when absent',
        })
        .option('agent-socket', {
          type: 'string',
          default: process.env['INPOD_UDS'] ?? '/var/run/ztunnel/ztunnel.sock',
          describe: 'socket of the CNI agent (environment: INPOD_UDS)',
        }),
    handler<{ cgroup: string | undefined; agentSocket: string }>(context, async (client, options) => {
      // Only this command needs the runtime: the others start faster without it.
      const { checkMachine } = await import('../check/check.ts');
      const report = await checkMachine(client, options);
      if (hasProblem(report)) context.exit(BAD_NEWS);
      return check(report, options.output);
    }),
  );
}

function logCommand(root: Argv, context: CommandContext): void {
  root.command(
    'log [level]',
    'show or change what the daemon logs',
    (argv) =>
      argv
        .positional('level', {
          type: 'string',
          describe: 'off, error, warn, info, debug or trace; or scope=level, several with commas',
        })
        .option('reset', {
          type: 'boolean',
          default: false,
          describe: 'first back to the level of the start',
        })
        .example('$0 log access=debug', 'a line also for each opened connection')
        .example('$0 log --reset', 'back to the level of the start'),
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
          describe: 'regular expression, found in the name or in label=value',
        })
        .option('stats', {
          type: 'string',
          default: process.env['KMESH_STATS'] ?? 'http://localhost:15020',
          describe: 'metrics port of the daemon (environment: KMESH_STATS)',
        })
        .example('$0 metrics xds', 'how the connection to the control plane does'),
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
