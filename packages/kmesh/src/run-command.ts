import { parseArgs } from 'node:util';
import { KmeshError } from '@kmesh/api';
import { parseDuration, runProxy, versionInfo, versionLine } from '@kmesh/controller';
import type { DemoOptions } from '@kmesh/lab';
import { uninstall } from '@kmesh/runtime';

/** Runs one command of the executable (ambient contract 2.1) and returns its exit code. */
export async function runCommand(args: readonly string[]): Promise<number> {
  const [command = 'proxy', ...rest] = args;
  // Help takes precedence over any command, at any position.
  if (command === 'help' || args.some((word) => word === '--help' || word === '-h')) {
    process.stdout.write(usage);
    return 0;
  }
  switch (command) {
    case 'proxy':
      // After a failure, parts of the proxy may still run; they must not keep the process alive.
      return process.exit(await runProxy(process.env, args));
    case 'version':
    case '--version':
      noArguments('version', rest);
      console.log(versionLine(versionInfo(process.env['ISTIO_META_ISTIO_VERSION'] ?? 'unknown')));
      return 0;
    case 'uninstall': {
      noArguments(command, rest);
      const { pins, namespaces } = await uninstall(process.env);
      const removed = pins === undefined ? 'no pins were found' : `${pins} was removed`;
      console.log(
        `kmesh: ${removed}; the table inet kmesh was removed from ${namespaces} network namespaces`,
      );
      return 0;
    }
    case 'demo': {
      // A node does not need the lab, so it is loaded only for the demo.
      const { runDemo } = await import('@kmesh/lab');
      return runDemo(demoOptions(rest));
    }
    default:
      process.stderr.write(`kmesh: unknown command "${command}"\n\n${usage}`);
      return 1;
  }
}

/** @throws KMESH_USAGE for arguments of a command that takes none */
function noArguments(command: string, rest: readonly string[]): void {
  if (rest.length === 0) return;
  throw new KmeshError('KMESH_USAGE', `${command} takes no arguments, but got "${rest.join(' ')}"`);
}

/**
 * Reads the arguments of `kmesh demo`.
 *
 * @throws KMESH_USAGE for an unknown option or a bad duration
 */
function demoOptions(args: readonly string[]): DemoOptions {
  try {
    const { values } = parseArgs({
      args: [...args],
      options: { for: { type: 'string' }, json: { type: 'boolean' }, local: { type: 'string' } },
      strict: true,
    });
    return {
      forMilliseconds: values.for === undefined ? undefined : parseDuration('--for', values.for),
      json: values.json ?? false,
      local: values.local,
    };
  } catch (error) {
    throw new KmeshError(
      'KMESH_USAGE',
      `${error instanceof Error ? error.message : String(error)}; kmesh help lists the options`,
      {
        cause: error,
      },
    );
  }
}

/** Text of `kmesh help`. */
const usage = `usage: kmesh <command>

  proxy [ztunnel]   run the node proxy (also without a command); settings come from the environment
  demo              run a lab mesh on this machine and show its traffic
      --for DURATION    stop after this time, such as 10s
      --json            print one JSON object at the end, and no live view
      --local FILE      take the mesh from a local mesh file instead of the lab's istiod; the file is
                        created if it is missing, and read again when it changes
  uninstall         detach and unpin the kernel path and clean up the pods' namespaces
  version           print build information
  help              print this; --help after a command does the same and does not run it

Settings are listed in docs/settings.md. kmeshctl shows the state, decisions and traffic of a running proxy.
`;
