import { existsSync, readdirSync, readFileSync, readlinkSync } from 'node:fs';
import { platform } from 'node:os';
import { KmeshError } from '@kmesh/api';
import { findCgroupMount, probeCapabilities } from '@kmesh/linux';

/**
 * Checks the requirements of the demo before it creates anything. The error names the first missing requirement.
 *
 * @throws KMESH_MACHINE_UNFIT
 */
export function checkMachine(): void {
  const problem = machineProblem();
  if (problem !== undefined) throw new KmeshError('KMESH_MACHINE_UNFIT', problem);
}

function machineProblem(): string | undefined {
  if (platform() !== 'linux')
    return `Kmesh runs on Linux only (this is ${platform()}): use a Linux machine or a virtual machine.`;
  if (process.getuid?.() !== 0)
    return 'this needs root, for network namespaces and BPF: run it again as root (sudo).';
  if (!existsSync('/proc/self/ns/net'))
    return 'this kernel has no network namespaces: use one built with CONFIG_NET_NS.';
  if (findCgroupMount() === undefined) {
    return 'cgroup v2 is not mounted: mount it, for instance with "mkdir -p /sys/fs/cgroup/unified && mount -t cgroup2 cgroup2 /sys/fs/cgroup/unified".';
  }
  const taken = takenPorts([15000, 15020, 15021]);
  if (taken.length > 0) {
    const list = taken.map(({ port, by }) => `${port}${by === undefined ? '' : ` by ${by}`}`).join(', ');
    return `ports that the node proxy needs are taken: ${list}: end what runs there, perhaps another demo, first.`;
  }
  const capabilities = new Map(probeCapabilities().map((row) => [row.name, row]));
  const bpf = capabilities.get('bpf');
  if (bpf !== undefined && !bpf.available) {
    return `BPF is not permitted here (${bpf.reason}): use a kernel with CONFIG_BPF_SYSCALL and a process with CAP_BPF, CAP_NET_ADMIN and CAP_SYS_ADMIN.`;
  }
  const bpffs = capabilities.get('bpffs-mount');
  if (bpffs !== undefined && !bpffs.available && !canMountBpffs()) {
    return 'bpffs is not mounted and this kernel does not know it: use a kernel with CONFIG_BPF_SYSCALL, or mount it with "mount -t bpf bpf /sys/fs/bpf".';
  }
  return undefined;
}

function canMountBpffs(): boolean {
  return /\bbpf$/m.test(readFileSync('/proc/filesystems', 'utf8'));
}

/** A port of this machine that is in use. */
interface TakenPort {
  readonly port: number;
  /** Such as `node (process 4711)`; undefined when it is in another process namespace. */
  readonly by: string | undefined;
}

const listening = '0A';

/** Returns those of `ports` that a TCP socket of this network namespace listens on, with the process that holds it. */
export function takenPorts(ports: readonly number[]): TakenPort[] {
  const inodes = new Map<number, string>();
  for (const file of ['/proc/net/tcp', '/proc/net/tcp6']) {
    for (const line of readFileSync(file, 'latin1').split('\n')) {
      const [, local = '', , state, , , , , , inode = ''] = line.trim().split(/\s+/);
      const port = Number.parseInt(local.split(':')[1] ?? '', 16);
      if (state === listening && ports.includes(port)) inodes.set(port, inode);
    }
  }
  if (inodes.size === 0) return [];
  const holders = holdersOf(new Set(inodes.values()));
  return [...inodes].map(([port, inode]) => ({ port, by: holders.get(inode) }));
}

/** Maps the inode of a socket to the process that has it open. */
function holdersOf(wanted: ReadonlySet<string>): Map<string, string> {
  const holders = new Map<string, string>();
  for (const pid of readdirSync('/proc').filter((name) => /^\d+$/.test(name))) {
    for (const fd of undefinedOnError(() => readdirSync(`/proc/${pid}/fd`)) ?? []) {
      // A process may close descriptors while they are listed; ignore those.
      const link = undefinedOnError(() => readlinkSync(`/proc/${pid}/fd/${fd}`));
      const inode = /^socket:\[(\d+)\]$/.exec(link ?? '')?.[1];
      if (inode === undefined || !wanted.has(inode)) continue;
      const name = undefinedOnError(() => readFileSync(`/proc/${pid}/comm`, 'utf8').trim());
      if (name !== undefined) holders.set(inode, `${name} (process ${pid})`);
    }
  }
  return holders;
}

function undefinedOnError<Value>(read: () => Value): Value | undefined {
  try {
    return read();
  } catch {
    return undefined;
  }
}
