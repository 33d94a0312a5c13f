import { existsSync, readFileSync } from 'node:fs';
import { platform } from 'node:os';
import { KmeshError } from '@kmesh/api';
import { findCgroupMount, probeCapabilities } from '@kmesh/linux';
import { takenPorts } from './taken-ports.ts';

/**
 * Checks what the demo cannot do without, before anything is made. One sentence for the first thing that is missing.
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
