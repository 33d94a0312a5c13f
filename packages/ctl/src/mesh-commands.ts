import type { Argv } from 'yargs';
import { type CommandContext, handler, namespaced } from './handler.ts';
import { certificates, policies, readConfigDump, routes, services, workloads } from './mesh.ts';

interface Namespaced {
  readonly namespace: string | undefined;
}

/** Adds the commands about the daemon's state of the mesh. */
export function meshCommands(root: Argv, context: CommandContext): Argv {
  return root
    .command(
      ['workloads', 'workload', 'w'],
      'workloads of the mesh',
      namespaced,
      handler<Namespaced>(context, async (client, { output, namespace }) =>
        workloads(await readConfigDump(client), output, { namespace }),
      ),
    )
    .command(
      ['services', 'service', 'svc'],
      'services and how many of their endpoints are healthy',
      namespaced,
      handler<Namespaced>(context, async (client, { output, namespace }) =>
        services(await readConfigDump(client), output, { namespace }),
      ),
    )
    .command(
      ['policies', 'policy', 'pol'],
      'authorization policies',
      namespaced,
      handler<Namespaced>(context, async (client, { output, namespace }) =>
        policies(await readConfigDump(client), output, { namespace }),
      ),
    )
    .command(
      ['routes', 'route'],
      'routes that split connections by weight, or why they are not applied',
      namespaced,
      handler<Namespaced>(context, async (client, { output, namespace }) =>
        routes(await readConfigDump(client), output, { namespace }),
      ),
    )
    .command(
      ['certificates', 'certificate', 'certs'],
      'certificates that the daemon holds',
      (argv) => argv,
      handler(context, async (client, { output }) => certificates(await readConfigDump(client), output)),
    );
}
