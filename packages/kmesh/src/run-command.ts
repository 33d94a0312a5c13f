import { parseArgs } from 'node:util';
import { KmeshError } from '@kmesh/api';
import { parseDuration, runProxy, versionInfo, versionLine } from '@kmesh/controller';
import type { DemoOptions } from '@kmesh/lab';
import { uninstall } from '@kmesh/runtime';

/** Runs one command of the executable (ambient contract 2.1) and returns its exit code. */
export async function runCommand(args: readonly string[]): Promise<number> {
  const [command = 'proxy', ...rest] = args;
  // Help wins over any command, wherever the word stands.
  if (command === 'help' || args.some((word) => word === '--help' || word === '-h')) {
    process.stdout.write(usage);
    return 0;
  }
  switch (command) {
    case 'proxy':
      // A proxy that ends for a failure leaves parts running: they must not keep the process.
      return process.exit(await runProxy(process.env, args));
    case 'version':
    case '--version':
      noArguments('version', rest);
      console.log(versionLine(versionInfo(process.env['ISTIO_META_ISTIO_VERSION'] ?? 'unknown')));
      return 0;
    case 'uninstall': {
      noArguments(command, rest);
      const { pins, namespaces } = await uninstall(process.env);
      const removed = pins === undefined ? 'there were no pins' : `${pins} is removed`;
      console.log(`kmesh: ${removed}; the table inet kmesh is removed from ${namespaces} network namespaces`);
      return 0;
    }
    case 'demo': {
      // The lab is not part of what a node needs: it is loaded only for the demo.
      const { runDemo } = await import('@kmesh/lab');
      return runDemo(demoOptions(rest));
    }
    default:
      process.stderr.write(`kmesh: unknown command "${command}"\n\n${usage}`);
      return 1;
  }
}

/** @throws KMESH_USAGE for words after a command that takes none */
function noArguments(command: string, rest: readonly string[]): void {
  if (rest.length === 0) return;
  throw new KmeshError('KMESH_USAGE', `${command} takes no arguments, and "${rest.join(' ')}" was given`);
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
      --for DURATION    stop by itself, for instance after 10s
      --json            print one JSON object at the end, and no live view
      --local FILE      take the mesh from a local mesh file and not from the lab's istiod;
                        it is written first when it is not there, and followed while it is edited
  uninstall         detach and unpin the kernel path and remove what is in the pods' namespaces
  version           print build information
  help              print this; so does --help after any command, which then does nothing

Settings are listed in docs/settings.md. kmeshctl shows what a running proxy knows, decides and carries.
`;
