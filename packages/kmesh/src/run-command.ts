import { KmeshError } from '@kmesh/api';
import { runProxy, versionInfo, versionLine } from '@kmesh/controller';
import { uninstall } from '@kmesh/runtime';
import { demoOptions } from './demo-options.ts';
import { usage } from './usage.ts';

/** Runs one command of the executable (ambient contract 2.1) and returns its exit code. */
export async function runCommand(args: readonly string[]): Promise<number> {
  const [command = 'proxy', ...rest] = args;
  // Whoever asks for help wants nothing done, wherever the word stands.
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
