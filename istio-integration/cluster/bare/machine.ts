import { execFile, execFileSync, spawn } from 'node:child_process';
import {
  existsSync,
  globSync,
  mkdirSync,
  openSync,
  readFileSync,
  rmdirSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { waitUntil } from '../wait.ts';

/**
 * A set of namespaces (network, mounts, processes, cgroups, host name, IPC) with a root directory: a machine for the
 * programs in it.
 */
export interface Machine {
  readonly name: string;
  /** Host process id of its process 1. Everything in the machine ends with it. */
  readonly pid: number;
  /** Start time of that process, in clock ticks since boot: distinguishes it from a later process with the same id. */
  readonly startTime: string;
  /** Its root directory, on the host. */
  readonly root: string;
  /** Folder of its services' logs, on the host. */
  readonly logs: string;
}

/** Where a machine is to be. */
export interface MachinePlace {
  readonly name: string;
  /** Holds its root and its logs. */
  readonly directory: string;
  /** The programs of the cluster: `/opt/kmesh` in the machine. */
  readonly programs: string;
  /** The images' archives: `/opt/images` in the machine. */
  readonly images: string;
}

/** A command that runs longer than this hangs. */
const COMMAND_MS = 60_000;
const initScript = fileURLToPath(new URL('machine-init.sh', import.meta.url));
const enterScript = fileURLToPath(new URL('machine-enter.sh', import.meta.url));
const execute = promisify(execFile);
const environment = {
  PATH: '/opt/kmesh:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin',
  HOME: '/root',
};

/** Returns the parents of all machines' cgroups: in each v1 hierarchy of the host, and in one mount of v2. */
function cgroupFolders(): string[] {
  const mounts = readFileSync('/proc/self/mounts', 'utf8')
    .split('\n')
    .map((line) => line.split(' '))
    .filter(([, place = '', type = '']) => /^cgroup2?$/.test(type) && place.startsWith('/sys/fs/cgroup'));
  const second = mounts.filter(([, , type]) => type === 'cgroup2').slice(1);
  return mounts
    .filter((mount) => !second.includes(mount))
    .map(([, place = '']) => join(place, 'kmesh-cluster'));
}

/** Starts a machine and waits until its file systems are there. */
export async function startMachine({ name, directory, programs, images }: MachinePlace): Promise<Machine> {
  const root = join(directory, 'root');
  const logs = join(directory, 'logs');
  for (const folder of [root, logs]) mkdirSync(folder, { recursive: true });
  makeCgroups(name);
  const log = openSync(join(logs, 'machine.log'), 'a');
  const namespaces = ['--net', '--mount', '--pid', '--uts', '--ipc', '--cgroup'];
  const outer = spawn(
    'bash',
    [
      '-c',
      // As machine-enter.sh does, before there is a machine to enter.
      'for group in "/sys/fs/cgroup/kmesh-cluster/$0" /sys/fs/cgroup/*/"kmesh-cluster/$0"; do ' +
        '[ ! -e "$group/cgroup.procs" ] || echo $$ >"$group/cgroup.procs"; done; exec "$@"',
      name,
      ...['unshare', ...namespaces, '--fork', '--kill-child=KILL', 'bash', initScript, root, name],
      programs,
      images,
    ],
    { stdio: ['ignore', log, log], detached: true, env: environment },
  );
  outer.unref();
  const printed = (): string => readFileSync(join(logs, 'machine.log'), 'utf8').trim();
  const children = `/proc/${outer.pid}/task/${outer.pid}/children`;
  const pid = await waitUntil(`process 1 of ${name}`, 10_000, () => {
    if (outer.exitCode !== null) throw new Error(`machine ${name} ended: ${printed()}`);
    const text = existsSync(children) ? readFileSync(children, 'utf8').trim() : '';
    return text === '' ? undefined : Number(text);
  });
  await waitUntil(`the file systems of ${name}`, 20_000, () => {
    if (outer.exitCode !== null) throw new Error(`machine ${name} ended: ${printed()}`);
    return existsSync(`/proc/${pid}/root/run/started`) || undefined;
  });
  return { name, pid, startTime: startTimeOf(pid) ?? '', root, logs };
}

/** Runs a program in a machine until it ends, and returns its output. If it fails, throws with its error output. */
export async function runIn(
  machine: Machine,
  command: readonly string[],
  { timeoutMs = COMMAND_MS }: { readonly timeoutMs?: number } = {},
): Promise<string> {
  const [file = '', ...args] = entering(machine, command);
  const { stdout } = await execute(file, args, {
    timeout: timeoutMs,
    killSignal: 'SIGKILL',
    maxBuffer: 64 << 20,
    env: environment,
  });
  return stdout;
}

/** Starts a program that runs until its machine ends. Its output goes to a file of its name. */
export function startIn(
  machine: Machine,
  service: string,
  command: readonly string[],
  env: Readonly<Record<string, string>> = {},
): void {
  const log = openSync(join(machine.logs, `${service}.log`), 'a');
  const [file = '', ...args] = entering(machine, command);
  spawn(file, args, {
    stdio: ['ignore', log, log],
    detached: true,
    env: { ...environment, ...env },
  }).unref();
}

/** Writes a file of a machine, by its path in it. */
export function writeIn(machine: Machine, path: string, content: string | Uint8Array): void {
  const file = join(machine.root, path);
  mkdirSync(join(file, '..'), { recursive: true });
  writeFileSync(file, content);
}

/** Returns whether a machine's process 1 runs. */
export function isUp(machine: Pick<Machine, 'pid' | 'startTime'>): boolean {
  return startTimeOf(machine.pid) === machine.startTime;
}

/** Ends everything in a machine at once, as when its power is cut, and removes its cgroups. Its root directory stays. */
export async function stopMachine(name: string): Promise<void> {
  for (const folder of cgroupFolders()) await endCgroup(join(folder, name));
}

/**
 * Ends every machine of this host, also one of which only processes are left: all of them are in the machines' cgroups.
 * Returns false if there was none.
 */
export async function endMachines(): Promise<boolean> {
  const folders = cgroupFolders().filter((folder) => existsSync(folder));
  for (const folder of folders) await endCgroup(folder);
  return folders.length > 0;
}

/** Removes a folder, unless the host has something mounted below it. */
export function removeFolder(folder: string): void {
  const mounts = readFileSync('/proc/self/mounts', 'utf8').split('\n');
  const below = mounts
    .map((line) => line.split(' ')[1] ?? '')
    .filter((path) => path.startsWith(`${folder}/`));
  if (below.length > 0) throw new Error(`something is mounted below ${folder}: ${below.join(', ')}`);
  rmSync(folder, { recursive: true, force: true });
}

function entering(machine: Machine, command: readonly string[]): string[] {
  return ['bash', enterScript, machine.name, String(machine.pid), ...command];
}

/** Undefined if there is no such process, or only a zombie. */
function startTimeOf(pid: number): string | undefined {
  try {
    const fields = readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ')[1]?.split(' ') ?? [];
    return fields[0] === 'Z' ? undefined : fields[19];
  } catch {
    return undefined;
  }
}

function makeCgroups(name: string): void {
  for (const folder of cgroupFolders()) {
    const group = join(folder, name);
    mkdirSync(group, { recursive: true });
    // Cgroup v1: a new cpuset has no CPU, and accepts no process until it has one.
    for (const file of ['cpuset.cpus', 'cpuset.mems'])
      for (const path of [folder, group])
        if (existsSync(join(path, file)))
          writeFileSync(join(path, file), readFileSync(join(path, '..', file), 'utf8'));
  }
}

/** Ends all processes in a cgroup and below, and removes it. */
async function endCgroup(group: string): Promise<void> {
  if (!existsSync(group)) return;
  const killAll = (path: string): void => {
    for (const pid of readFileSync(join(path, 'cgroup.procs'), 'utf8').split('\n').filter(Boolean))
      process.kill(Number(pid), 'SIGKILL');
  };
  // First the processes that create cgroups and processes: all others end with them.
  const folders = (): string[] => [
    ...new Set([group, ...globSync('**/', { cwd: group }).map((path) => join(group, path))]),
  ];
  for (const path of folders().sort((a, b) => a.length - b.length)) attempt(() => killAll(path));
  for (const path of folders().sort((a, b) => b.length - a.length))
    await waitUntil(`the end of the processes in ${path}`, 30_000, () =>
      attempt(() => {
        killAll(path);
        rmdirSync(path);
      }),
    );
}

/** True when it is removed, undefined while a killed process has not ended. */
function attempt(action: () => void): true | undefined {
  try {
    action();
    return true;
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === 'ENOENT' || code === 'ENODEV') return true;
    if (code === 'EBUSY' || code === 'ESRCH') return undefined;
    throw error;
  }
}

/** Runs a program of the host. */
export function run(program: string, args: readonly string[]): string {
  return execFileSync(program, args, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'] });
}
