import { existsSync } from 'node:fs';
import { dirname } from 'node:path';
import type { Overview, OverviewLimit, OverviewRoute, TablesView } from '@kmesh/api';
import {
  attachedPrograms,
  type CapabilityName,
  cgroupDirectory,
  cgroupObstacle,
  findBpffsMount,
  findCgroupMount,
  probeCapabilities,
} from '@kmesh/linux';
import { kernelPathObstacles } from '@kmesh/runtime';
import type { AdminClient } from './admin-client.ts';
import { type Column, type OutputFormat, renderObject, renderTable } from './output.ts';

/**
 * The threat model of connections between two pods of one node on the kernel path, for `kmeshctl check`.
 * docs/security.md has the same sentences, each with the test that proves it.
 */
export const threatModel = [
  'An identity within the node is attested: packets come from the interface and address that the node gave to that pod, and the daemon holds a valid certificate of it.',
  'Such a connection is plain TCP and not encrypted; with KMESH_SAME_NODE=mtls it is mutual TLS, as between pods of the mesh on different nodes.',
  'STRICT is met by attestation, unless KMESH_SAME_NODE=mtls is set.',
  'Every packet is judged by the current policies: a denied connection ends with its next packet, and no packet sent after a change was acknowledged arrives.',
  "If no other software owns the hook, others on the node's bridge see at most first packets; otherwise bytes take the node's network in plain text.",
  'A pod with NET_RAW or NET_ADMIN can send its own connections past the mesh, in plain text.',
  'Such a pod does not get the identity of another one, and cannot bypass the policies of any pod.',
  'A pod without these capabilities cannot leave the mesh.',
  'Root on the node can do anything, and so can any process that may write to the pins or load BPF programs.',
  'After the daemon has died its programs decide for the time of KMESH_LEASE, and not after that.',
] as const;

/** Result of one check. */
interface CheckRow {
  readonly area: 'daemon' | 'capability' | 'mount' | 'hook' | 'agent';
  readonly name: string;
  /** `warning`: degraded or worth checking, but Kmesh works; `problem`: Kmesh does not work as intended. */
  readonly state: 'ok' | 'warning' | 'problem';
  readonly detail: string;
}

/** Result of `kmeshctl check`. */
interface CheckReport {
  readonly rows: readonly CheckRow[];
  /** All programs at the hooks of Kmesh, in execution order. */
  readonly programs: readonly HookProgram[];
}

/** Options of {@link checkMachine}. */
interface CheckOptions {
  /** Cgroup whose sockets Kmesh serves; default: the daemon's, else the mount of cgroup v2. */
  readonly cgroup: string | undefined;
  /** Socket of the CNI agent; default: the daemon's, else the default of istio-cni. */
  readonly agentSocket: string | undefined;
}

/** Checks this machine with the privileges of this process, and the daemon if it runs. */
export async function checkMachine(client: AdminClient, options: CheckOptions): Promise<CheckReport> {
  const programs: HookProgram[] = [];
  const daemon = await askDaemon(client);
  const mount = findCgroupMount();
  const named = options.cgroup ?? (daemon.places?.cgroup || undefined);
  const cgroup = named === undefined ? mount : cgroupDirectory(named);
  const rows = [
    ...daemon.rows,
    // Whether a configured directory is usable is reported below, with the hooks.
    ...capabilityRows(named === undefined ? [] : ['cgroup-mount']),
    ...mountRows(cgroup),
    agentRow(options.agentSocket ?? daemon.places?.agentSocket ?? AGENT_SOCKET),
  ];
  if (cgroup !== undefined) {
    try {
      if (!existsSync(cgroup)) throw new Error(`cgroup ${cgroup} does not exist`);
      const misplaced = cgroupObstacle(cgroup);
      if (misplaced !== undefined) throw new Error(misplaced);
      programs.push(...hookPrograms(cgroup, mount ?? cgroup));
      rows.push(...hookRows(programs));
    } catch (error) {
      const detail = error instanceof Error ? error.message : String(error);
      rows.push({ area: 'hook', name: cgroup, state: 'problem', detail });
    }
  }
  return { rows, programs };
}

/** Default socket of istio-cni. */
const AGENT_SOCKET = '/var/run/ztunnel/ztunnel.sock';

/** Reads the daemon's state and its places; no places if it does not answer. */
async function askDaemon(
  client: AdminClient,
): Promise<{ readonly rows: CheckRow[]; readonly places: Overview['places'] | undefined }> {
  const row = { area: 'daemon', name: 'kmesh' } as const;
  try {
    const overview = (await client.json('/kmesh/overview')) as Overview;
    const { pending, controlPlane, version, limits, places, routes } = overview;
    if (pending.length > 0) {
      const why = controlPlane.connected ? '' : `; control plane: ${controlPlane.detail}`;
      const detail = `running, but not ready; pending: ${pending.join(', ')}${why}`;
      return { rows: [{ ...row, state: 'problem', detail }], places };
    }
    return {
      rows: [
        { ...row, state: 'ok', detail: `${version}, ready` },
        ...limits.map(limitRow),
        ...refusedRows(controlPlane),
        ...routes.flatMap(routeRows),
        ...wireRows((await client.json('/kmesh/tables')) as TablesView),
      ],
      places,
    };
  } catch (error) {
    const detail = error instanceof Error ? error.message : String(error);
    return { rows: [{ ...row, state: 'warning', detail }], places: undefined };
  }
}

const limitText: Readonly<Record<OverviewLimit['limit'], readonly [effect: string, setting: string]>> = {
  descriptors: ['connections refused beyond its share of file descriptors', 'KMESH_POD_DESCRIPTORS'],
  'log lines': ['access log lines suppressed', 'KMESH_POD_LOG_LINES'],
  series: ['connections counted as other in the metrics', 'KMESH_POD_SERIES'],
};

function limitRow({ limit, namespace, name, times }: OverviewLimit): CheckRow {
  const [effect, setting] = limitText[limit];
  const detail = `${times} ${effect} since the start; ${setting} sets the share of a pod`;
  return { area: 'daemon', name: `pod ${namespace}/${name}`, state: 'warning', detail };
}

function refusedRows({ address, routesRefused }: Overview['controlPlane']): CheckRow[] {
  if (!routesRefused) return [];
  const detail = `${address} refuses to send routes: connections are not split by weights`;
  return [{ area: 'daemon', name: 'routes', state: 'warning', detail }];
}

/** Reports routes that are not applied: traffic does not show it, and the machine is not at fault. */
function routeRows({ route, problems }: OverviewRoute): CheckRow[] {
  return problems.map((detail) => ({ area: 'daemon', name: `route ${route}`, state: 'warning', detail }));
}

/** Reports whether packets between pods of the node stay off its network; no row before pods are served. */
function wireRows({ pods }: TablesView): CheckRow[] {
  const attached = pods.filter(({ delivered }) => delivered !== undefined);
  const undelivered = attached.filter(({ delivered }) => delivered === false);
  const [first] = undelivered;
  if (attached.length === 0) return [];
  const row = { area: 'hook', name: 'the wire' } as const;
  if (first === undefined)
    return [{ ...row, state: 'ok', detail: `delivers packets between ${attached.length} pods itself` }];
  const detail =
    `other software has a program at the node side of the interfaces of ${undelivered.length} of ` +
    `${attached.length} pods, such as ${first.namespace}/${first.name}: packets between pods are judged, but pass the ` +
    "node's network in plain text";
  return [{ ...row, state: 'warning', detail }];
}

function capabilityRows(without: readonly CapabilityName[]): CheckRow[] {
  const capabilities = probeCapabilities().filter(({ name }) => !without.includes(name));
  return capabilities.map((capability) => {
    const needed = kernelPathObstacles([capability]).length > 0;
    return {
      area: 'capability',
      name: capability.description,
      state: capability.available ? 'ok' : needed ? 'problem' : 'warning',
      detail: capability.available
        ? capability.reason
        : `${capability.reason}${needed ? '; without it every connection takes the tunnel path' : ''}`,
    };
  });
}

function mountRows(mount: string | undefined): CheckRow[] {
  const pins = findBpffsMount();
  return [
    {
      area: 'mount',
      name: 'cgroup v2',
      state: mount === undefined ? 'problem' : 'ok',
      detail: mount ?? 'not mounted: mount -t cgroup2 none /sys/fs/cgroup',
    },
    {
      area: 'mount',
      name: 'bpffs',
      state: pins === undefined ? 'warning' : 'ok',
      detail: pins ?? 'not mounted, so nothing outlives the daemon: mount -t bpf bpf /sys/fs/bpf',
    },
  ];
}

function agentRow(path: string): CheckRow {
  const there = existsSync(path);
  return {
    area: 'agent',
    name: 'socket of the CNI agent',
    state: there ? 'ok' : 'warning',
    detail: there
      ? path
      : `${path} does not exist: istio-cni is not running here, or INPOD_UDS names another path`,
  };
}

function hookRows(programs: readonly HookProgram[]): CheckRow[] {
  const remarks = new Map(
    programs.filter(({ remark }) => remark !== '').map((program) => [program.remark, program]),
  );
  const own = programs.filter(({ owner }) => owner === 'Kmesh');
  return [
    {
      area: 'hook',
      name: 'programs of Kmesh',
      state: own.length > 0 ? 'ok' : 'warning',
      detail:
        own.length > 0
          ? own.map(({ name }) => name).join(', ')
          : 'none is attached to this cgroup or its ancestors',
    },
    ...[...remarks].map(
      ([remark, { name, hook }]): CheckRow => ({
        area: 'hook',
        name: `${name} at ${hook}`,
        state: /never sees them|second Kmesh/.test(remark) ? 'problem' : 'warning',
        detail: remark,
      }),
    ),
  ];
}

/** A program at one of the hooks that Kmesh uses. */
interface HookProgram {
  readonly hook: string;
  readonly cgroup: string;
  readonly id: number;
  readonly name: string;
  readonly owner: 'Kmesh' | 'other';
  /** Effect on Kmesh; empty if harmless. */
  readonly remark: string;
}

/** `bpf_attach_type` of each hook. */
const hooks: readonly (readonly [name: string, attachType: number])[] = [
  ['connect4', 10],
  ['connect6', 11],
  ['getpeername4', 29],
  ['getpeername6', 30],
  ['sockops', 3],
];

/** Software whose connect programs translate service addresses. */
const translators: readonly (readonly [pattern: RegExp, remark: string])[] = [
  [
    /^(cil_sock|sock[46]_)/,
    'Cilium translates service addresses in connect, so Kmesh never sees them: set socketLB.hostNamespaceOnly=true in Cilium',
  ],
  [
    /^(calico|cali_ctlb)/,
    'Calico translates service addresses in connect, so Kmesh never sees them: set bpfConnectTimeLoadBalancing=Disabled in Calico',
  ],
];

/**
 * Lists the programs at the hooks of Kmesh for sockets of a cgroup in execution order: the cgroup's programs, then
 * those of each ancestor.
 *
 * @param mount mount point of cgroup v2
 * @throws SystemCallError `KMESH_BPF_INFO_FAILED` if programs cannot be listed
 */
function hookPrograms(cgroup: string, mount: string): HookProgram[] {
  const found: HookProgram[] = [];
  for (const [hook, attachType] of hooks) {
    let kmesh = 0;
    for (const directory of upwards(cgroup, mount)) {
      for (const { id, name } of attachedPrograms(directory, attachType)) {
        const own = name.startsWith('kmesh_');
        if (own) kmesh++;
        const remark = own
          ? kmesh > 1
            ? 'a second Kmesh is attached: expected during an update; otherwise stop one of them'
            : ''
          : remarkOf(hook, name);
        found.push({ hook, cgroup: directory, id, name, owner: own ? 'Kmesh' : 'other', remark });
      }
    }
  }
  return found;
}

function remarkOf(hook: string, name: string): string {
  const known = translators.find(([pattern]) => pattern.test(name));
  if (known !== undefined) return known[1];
  return hook.startsWith('connect')
    ? 'may change the dialled address; if it runs before Kmesh, Kmesh sees the changed address'
    : '';
}

function* upwards(cgroup: string, mount: string): Generator<string> {
  for (let directory = cgroup; existsSync(directory); directory = dirname(directory)) {
    yield directory;
    if (directory === mount || directory.length <= mount.length) return;
  }
}

const rowColumns: readonly Column<CheckRow>[] = [
  { heading: 'state', cell: (row) => row.state },
  { heading: 'area', cell: (row) => row.area },
  { heading: 'name', cell: (row) => row.name },
  { heading: 'detail', cell: (row) => row.detail },
];

const programColumns: readonly Column<HookProgram & { readonly place: number }>[] = [
  { heading: 'hook', cell: (program) => program.hook },
  { heading: 'runs', cell: (program) => program.place },
  { heading: 'program', cell: (program) => program.name || `id ${program.id}` },
  { heading: 'of', cell: (program) => program.owner },
  { heading: 'cgroup', cell: (program) => program.cgroup },
];

/** Renders `kmeshctl check`: problems first; all rows with `-o wide`; then the threat model. */
export function check(report: CheckReport, format: OutputFormat): string {
  if (format === 'json' || format === 'yaml') return renderObject(format, report);
  const order = ['problem', 'warning', 'ok'];
  const rows = [...report.rows].sort((left, right) => order.indexOf(left.state) - order.indexOf(right.state));
  const shown = rows.filter(
    ({ state, area }) => format === 'wide' || state !== 'ok' || area !== 'capability',
  );
  const fine = rows.length - shown.length;
  return (
    renderTable(rowColumns, shown) +
    (fine > 0 ? `${fine} capabilities are available; -o wide lists them.\n` : '') +
    (report.programs.length === 0 ? '' : `\n${renderTable(programColumns, withPlaces(report.programs))}`) +
    `\nBetween two pods of this node, on the kernel path:\n${threatModel.map((sentence) => `* ${sentence}\n`).join('')}`
  );
}

/** Returns whether any check found a problem. */
export function hasProblem(report: CheckReport): boolean {
  return report.rows.some(({ state }) => state === 'problem');
}

function withPlaces(programs: readonly HookProgram[]): (HookProgram & { place: number })[] {
  const places = new Map<string, number>();
  return programs.map((program) => {
    const place = (places.get(program.hook) ?? 0) + 1;
    places.set(program.hook, place);
    return { ...program, place };
  });
}
