import { existsSync } from 'node:fs';
import { resolve } from 'node:path';
import yargs from 'yargs';

/** A parsed command line. */
export interface ClusterOptions {
  readonly command: 'up' | 'test' | 'istio-suite' | 'use' | 'logs' | 'down';
  readonly nodes: number;
  /** `bare`: nodes are namespaces of this machine; `kind`: containers that kind creates. */
  readonly backend: 'bare' | 'kind';
  readonly proxy: Proxy;
  /** Print one JSON object instead of text. */
  readonly json: boolean;
  /** Run only cases whose name or id contains one of these. */
  readonly filters: readonly string[];
  /** Revision of this repository from which the cases upgrade; undefined: the newest with other pinned layouts. */
  readonly from: string | undefined;
  /** Run only Istio's own tests that this pattern selects, as `go test -run` does: elements after a slash select parts. */
  readonly run: string;
}

/** The node proxy under test. */
export type Proxy =
  /** Kmesh with the profile's mounts: both paths. */
  | { readonly kind: 'kmesh' }
  /** Istio's ambient profile with only the image replaced: by Kmesh's, or by that of an archive. */
  | { readonly kind: 'image'; readonly archive: string | undefined };

/** An invalid command line. The message is printed to the user. */
export class UsageError extends Error {}

const maximumNodes = 5;

/** Parses arguments, without the program's name. Throws {@link UsageError}; `--help` prints and returns `undefined`. */
export async function parseOptions(args: readonly string[]): Promise<ClusterOptions | undefined> {
  // `-run` is accepted as in `go test`.
  const parser = yargs(args.map((arg) => arg.replace(/^-run(?==|$)/, '--run')))
    .scriptName('npm run cluster --')
    .usage(
      '$0 COMMAND: a real Kubernetes cluster with Istio ambient and Kmesh as its node proxy, on this machine',
    )
    .option('json', { type: 'boolean', default: false, describe: 'print one JSON object' })
    .command('up', 'start a cluster with Istio and the proxy; a running one is ended first', (command) =>
      shape(command),
    )
    .command(
      'test [filter..]',
      'run the cases in the running cluster, or those whose name contains a filter',
      (command) =>
        command
          .positional('filter', { type: 'string', array: true, default: [] as string[] })
          .option('from', {
            type: 'string',
            describe: 'revision from which the cases upgrade; default: the newest with other pinned layouts',
          }),
    )
    .command(
      'istio-suite',
      "run the ambient tests of Istio's own module in the running cluster, or those whose name --run matches",
      (command) =>
        command.option('run', {
          type: 'string',
          default: '.',
          describe:
            'a regular expression, as of go test -run, of names of tests; behind a slash, of names of their parts',
        }),
    )
    .command('use', 'print shell commands that configure kubectl and istioctl for the cluster')
    .command('logs', 'collect the logs, objects and events of the cluster in a folder')
    .command('down', 'end the cluster and remove everything of it, also after a command was killed')
    .demandCommand(1, 1, 'which command: up, test, istio-suite, use, logs or down', 'one command at a time')
    .strict()
    .version(false)
    .exitProcess(false)
    .showHelpOnFail(false)
    .fail((message: string | undefined, error) => {
      throw error ?? new UsageError(message);
    });
  const values = (await parser.parseAsync()) as unknown as {
    readonly _: readonly string[];
    readonly nodes?: number;
    readonly backend?: ClusterOptions['backend'];
    readonly proxy?: string;
    readonly json: boolean;
    readonly filter?: readonly string[];
    readonly from?: string;
    readonly run?: string;
    readonly help?: boolean;
  };
  if (values.help === true) return undefined;
  const nodes = values.nodes ?? 2;
  if (!Number.isInteger(nodes) || nodes < 1 || nodes > maximumNodes)
    throw new UsageError(`--nodes ${values.nodes}: a whole number from 1 to ${maximumNodes}`);
  return {
    command: values._[0] as ClusterOptions['command'],
    nodes,
    backend: values.backend ?? 'bare',
    proxy: proxyOf(values.proxy ?? 'kmesh'),
    json: values.json,
    filters: values.filter ?? [],
    from: values.from,
    run: regularExpression(values.run ?? '.'),
  };
}

function shape<T>(command: import('yargs').Argv<T>) {
  return command
    .option('nodes', {
      type: 'number',
      default: 2,
      describe: `number of nodes for pods, 1 to ${maximumNodes}`,
    })
    .option('backend', {
      choices: ['bare', 'kind'] as const,
      default: 'bare' as const,
      describe: 'bare: namespaces of this machine; kind: containers that kind creates, from released images',
    })
    .option('proxy', {
      type: 'string',
      default: 'kmesh',
      describe:
        'kmesh: with the mounts of profiles/kmesh.yaml; kmesh-stock: only the image; or the archive (tar, OCI) of an image that replaces ztunnel',
    });
}

function regularExpression(text: string): string {
  try {
    new RegExp(text);
    return text;
  } catch {
    throw new UsageError(`--run ${text}: a regular expression, and this is none`);
  }
}

function proxyOf(text: string): Proxy {
  if (text === 'kmesh') return { kind: 'kmesh' };
  if (text === 'kmesh-stock') return { kind: 'image', archive: undefined };
  if (!existsSync(text))
    throw new UsageError(
      `--proxy ${text}: kmesh, kmesh-stock, or the path of an image archive, and no file is there`,
    );
  return { kind: 'image', archive: resolve(text) };
}
