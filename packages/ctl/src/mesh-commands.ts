import { KmeshError, type Route, type RouteRule } from '@kmesh/api';
import type { Argv } from 'yargs';
import type { AdminClient } from './admin-client.ts';
import { type CommandContext, handler, namespaced } from './handler.ts';
import { type Column, type OutputFormat, renderList } from './output.ts';

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
      'services and the number of their healthy endpoints',
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

/** The part of the config dump that kmeshctl reads (ambient contract 13). */
interface ConfigDump {
  readonly workloads: readonly DumpedWorkload[];
  readonly services: readonly DumpedService[];
  readonly policies: readonly DumpedPolicy[];
  readonly certificates: readonly DumpedCertificate[];
  /** Absent in dumps of versions without routes. */
  readonly routes?: readonly DumpedRoute[];
}

/** A route, and why it is not applied or not everywhere. */
type DumpedRoute = Route & { readonly problems?: readonly string[] };

interface DumpedWorkload {
  readonly uid?: string;
  readonly name: string;
  readonly namespace: string;
  readonly workloadIps: readonly string[];
  readonly node?: string;
  readonly protocol: string;
  readonly status: string;
  readonly serviceAccount?: string;
  readonly network?: string;
  readonly clusterId: string;
  readonly capacity: number;
  readonly waypoint?: { readonly destination: string };
  readonly services?: readonly string[];
}

interface DumpedService {
  readonly name: string;
  readonly namespace: string;
  readonly hostname: string;
  readonly vips: readonly string[];
  readonly cidrVips?: readonly { readonly network: string; readonly cidr: string }[];
  readonly ports: Readonly<Record<string, number>>;
  readonly endpoints: Readonly<Record<string, { readonly workloadUid: string; readonly status: string }>>;
  readonly waypoint?: { readonly destination: string };
  readonly loadBalancer?: { readonly mode: string; readonly routingPreferences: readonly string[] };
  readonly visibility: string;
}

interface DumpedPolicy {
  readonly name: string;
  readonly namespace: string;
  readonly scope: string;
  readonly action: string;
  readonly rules: readonly unknown[];
  readonly dryRun: boolean;
}

interface DumpedCertificate {
  readonly identity: string;
  readonly state: string;
  readonly certChain: readonly {
    readonly serialNumber: string;
    readonly validFrom: string;
    readonly expirationTime: string;
  }[];
  readonly rootCerts: readonly unknown[];
}

/** Reads the daemon's config dump. @throws KmeshError `KMESH_ADMIN_ANSWER` if the response is not a config dump */
async function readConfigDump(client: AdminClient): Promise<ConfigDump> {
  const dump = await client.json('/config_dump');
  for (const key of ['workloads', 'services', 'policies', 'certificates'] as const) {
    if (typeof dump !== 'object' || dump === null || !Array.isArray((dump as Record<string, unknown>)[key])) {
      throw new KmeshError(
        'KMESH_ADMIN_ANSWER',
        `the config dump has no list "${key}": is this the admin port of Kmesh?`,
      );
    }
  }
  return dump as ConfigDump;
}

/** Restricts a list to a namespace; default: all. */
interface MeshFilter {
  readonly namespace?: string | undefined;
}

const workloadColumns: readonly Column<DumpedWorkload>[] = [
  { heading: 'namespace', cell: (workload) => workload.namespace },
  { heading: 'name', cell: (workload) => workload.name },
  { heading: 'addresses', cell: (workload) => workload.workloadIps.join(',') },
  { heading: 'node', cell: (workload) => workload.node },
  { heading: 'protocol', cell: (workload) => workload.protocol },
  { heading: 'status', cell: (workload) => workload.status },
  { heading: 'waypoint', cell: (workload) => workload.waypoint?.destination },
  { heading: 'service account', cell: (workload) => workload.serviceAccount, wide: true },
  { heading: 'network', cell: (workload) => workload.network, wide: true },
  { heading: 'cluster', cell: (workload) => workload.clusterId, wide: true },
  { heading: 'capacity', cell: (workload) => workload.capacity, wide: true },
  { heading: 'services', cell: (workload) => workload.services?.join(','), wide: true },
  { heading: 'uid', cell: (workload) => workload.uid, wide: true },
];

const serviceColumns: readonly Column<DumpedService>[] = [
  { heading: 'namespace', cell: (service) => service.namespace },
  { heading: 'name', cell: (service) => service.name },
  {
    heading: 'vips',
    cell: (service) =>
      [...service.vips.map(withoutNetwork), ...(service.cidrVips ?? []).map(({ cidr }) => cidr)].join(','),
  },
  {
    heading: 'ports',
    cell: (service) =>
      Object.entries(service.ports)
        .map(([port, target]) => `${port}→${target || 'named'}`)
        .join(','),
  },
  { heading: 'endpoints', cell: (service) => healthyOfAll(service) },
  { heading: 'waypoint', cell: (service) => service.waypoint?.destination },
  { heading: 'balancing', cell: (service) => service.loadBalancer?.mode ?? 'Standard' },
  { heading: 'hostname', cell: (service) => service.hostname, wide: true },
  {
    heading: 'preferences',
    cell: (service) => service.loadBalancer?.routingPreferences.join(','),
    wide: true,
  },
  { heading: 'visibility', cell: (service) => service.visibility, wide: true },
];

const policyColumns: readonly Column<DumpedPolicy>[] = [
  { heading: 'namespace', cell: (policy) => policy.namespace },
  { heading: 'name', cell: (policy) => policy.name },
  { heading: 'action', cell: (policy) => policy.action },
  { heading: 'scope', cell: (policy) => policy.scope },
  { heading: 'rules', cell: (policy) => policy.rules.length },
  { heading: 'dry run', cell: (policy) => (policy.dryRun ? 'yes' : 'no') },
];

const routeColumns: readonly Column<DumpedRoute>[] = [
  { heading: 'namespace', cell: (route) => route.namespace },
  { heading: 'name', cell: (route) => route.name },
  { heading: 'hosts', cell: (route) => route.hosts.join(',') },
  { heading: 'tcp', cell: (route) => rulesText(route.tcp) },
  { heading: 'http, by connection', cell: (route) => rulesText(route.http) },
  { heading: 'not applied', cell: (route) => route.problems?.join('; ') ?? route.unsupported },
  { heading: 'export to', cell: (route) => route.exportTo.join(','), wide: true },
];

/** Formats the backends of each rule with their weights. */
function rulesText(rules: readonly RouteRule[] | undefined): string | undefined {
  if (rules === undefined || rules.length === 0) return undefined;
  return rules
    .map(({ backends }) => {
      const shares = backends.map(({ hostname, weight }) => `${hostname || '(none)'}=${weight}`);
      return shares.join(',') || 'refused';
    })
    .join('; ');
}

const certificateColumns: readonly Column<DumpedCertificate>[] = [
  { heading: 'identity', cell: (certificate) => certificate.identity },
  { heading: 'state', cell: (certificate) => certificate.state },
  { heading: 'valid from', cell: (certificate) => certificate.certChain[0]?.validFrom },
  { heading: 'expires', cell: (certificate) => certificate.certChain[0]?.expirationTime },
  { heading: 'serial', cell: (certificate) => hexadecimal(certificate.certChain[0]?.serialNumber) },
  { heading: 'chain', cell: (certificate) => certificate.certChain.length, wide: true },
  { heading: 'roots', cell: (certificate) => certificate.rootCerts.length, wide: true },
];

/** Renders `kmeshctl workloads`. */
function workloads(dump: ConfigDump, format: OutputFormat, filter: MeshFilter): string {
  return renderList(format, workloadColumns, inNamespace(dump.workloads, filter));
}

/** Renders `kmeshctl services`. */
function services(dump: ConfigDump, format: OutputFormat, filter: MeshFilter): string {
  return renderList(format, serviceColumns, inNamespace(dump.services, filter));
}

/** Renders `kmeshctl policies`. */
function policies(dump: ConfigDump, format: OutputFormat, filter: MeshFilter): string {
  return renderList(format, policyColumns, inNamespace(dump.policies, filter));
}

/** Renders `kmeshctl routes`. */
function routes(dump: ConfigDump, format: OutputFormat, filter: MeshFilter): string {
  return renderList(format, routeColumns, inNamespace(dump.routes ?? [], filter));
}

/** Renders `kmeshctl certificates`. */
function certificates(dump: ConfigDump, format: OutputFormat): string {
  return renderList(format, certificateColumns, dump.certificates);
}

function inNamespace<Row extends { readonly namespace: string; readonly name: string }>(
  rows: readonly Row[],
  filter: MeshFilter,
): Row[] {
  return rows
    .filter((row) => filter.namespace === undefined || row.namespace === filter.namespace)
    .sort((a, b) => `${a.namespace}/${a.name}`.localeCompare(`${b.namespace}/${b.name}`));
}

function withoutNetwork(vip: string): string {
  return vip.slice(vip.indexOf('/') + 1);
}

function healthyOfAll(service: DumpedService): string {
  const endpoints = Object.values(service.endpoints);
  return `${endpoints.filter((endpoint) => endpoint.status === 'Healthy').length}/${endpoints.length}`;
}

function hexadecimal(serial: string | undefined): string | undefined {
  return serial === undefined ? undefined : BigInt(serial).toString(16);
}
