import { existsSync } from 'node:fs';
import type { Overview } from '@kmesh/api';
import { findBpffsMount, findCgroupMount, probeCapabilities } from '@kmesh/linux';
import { kernelPathObstacles } from '@kmesh/runtime';
import type { AdminClient } from '../admin-client.ts';
import { type HookProgram, hookPrograms } from './hooks.ts';

/** One thing that was looked at. */
export interface CheckRow {
  readonly area: 'daemon' | 'capability' | 'mount' | 'hook' | 'agent';
  readonly name: string;
  /** `warning`: something is lost or to be looked at, but Kmesh runs; `problem`: it cannot work as it should. */
  readonly state: 'ok' | 'warning' | 'problem';
  readonly detail: string;
}

/** The answer of `kmeshctl check`. */
export interface CheckReport {
  readonly rows: readonly CheckRow[];
  /** Everything at the hooks of Kmesh, in the order in which it runs. */
  readonly programs: readonly HookProgram[];
}

/** What to look at besides the machine. */
interface CheckOptions {
  /** Cgroup whose sockets Kmesh serves; the mount of cgroup v2 when absent. */
  readonly cgroup: string | undefined;
  /** Socket of the CNI agent. */
  readonly agentSocket: string;
}

/** Looks at this machine with the rights of this process, and at the daemon when there is one. */
export async function checkMachine(client: AdminClient, options: CheckOptions): Promise<CheckReport> {
  const mount = findCgroupMount();
  const programs: HookProgram[] = [];
  const rows = [
    ...(await daemonRows(client)),
    ...capabilityRows(),
    ...mountRows(mount),
    agentRow(options.agentSocket),
  ];
  if (mount !== undefined) {
    const cgroup = options.cgroup ?? mount;
    try {
      if (!existsSync(cgroup)) throw new Error(`there is no cgroup ${cgroup}`);
      programs.push(...hookPrograms(cgroup, mount));
      rows.push(...hookRows(programs));
    } catch (error) {
      const detail = error instanceof Error ? error.message : String(error);
      rows.push({ area: 'hook', name: cgroup, state: 'problem', detail });
    }
  }
  return { rows, programs };
}

async function daemonRows(client: AdminClient): Promise<CheckRow[]> {
  const row = { area: 'daemon', name: 'kmesh' } as const;
  try {
    const { pending, controlPlane, version } = (await client.json('/kmesh/overview')) as Overview;
    if (pending.length > 0) {
      const why = controlPlane.connected ? '' : `; control plane: ${controlPlane.detail}`;
      return [{ ...row, state: 'problem', detail: `runs, but waits for: ${pending.join(', ')}${why}` }];
    }
    return [{ ...row, state: 'ok', detail: `${version}, ready` }];
  } catch (error) {
    return [{ ...row, state: 'warning', detail: error instanceof Error ? error.message : String(error) }];
  }
}

function capabilityRows(): CheckRow[] {
  return probeCapabilities().map((capability) => {
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
      : `${path} is not there: istio-cni is not running here, or INPOD_UDS names another place`,
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
          : 'none is attached to this cgroup or above it',
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
