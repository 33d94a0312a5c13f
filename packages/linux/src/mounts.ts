import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';

/** A line of `/proc/self/mountinfo`. */
interface Mount {
  readonly mountPoint: string;
  readonly type: string;
  /** The directory of the file system that is mounted; `/` when all of it is. */
  readonly root: string;
  readonly readOnly: boolean;
}

/** The mounts that this process sees. `text` replaces `/proc/self/mountinfo`. */
export function listMounts(text = readFileSync('/proc/self/mountinfo', 'utf8')): Mount[] {
  const mounts: Mount[] = [];
  for (const line of text.split('\n')) {
    const fields = line.split(' ');
    const separator = fields.indexOf('-');
    const [root, mountPoint, options] = fields.slice(3, 6);
    const type = fields[separator + 1];
    if (separator < 6 || root === undefined || mountPoint === undefined || type === undefined) continue;
    const readOnly = options?.split(',').includes('ro') ?? false;
    mounts.push({ mountPoint: unescapeMount(mountPoint), root: unescapeMount(root), type, readOnly });
  }
  return mounts;
}

/**
 * Where the host's cgroup v2 is mounted, whole: `/sys/fs/cgroup`, `/sys/fs/cgroup/unified` or elsewhere; undefined when
 * nowhere. The part of it that a container sees as its own does not count: programs attached there would see that
 * container only.
 */
export function findCgroupMount(mounts = listMounts(), whole = isWholeHierarchy): string | undefined {
  const cgroups = mounts.filter((mount) => mount.type === 'cgroup2' && whole(mount.mountPoint));
  return (cgroups.find((mount) => mount.root === '/') ?? cgroups[0])?.mountPoint;
}

/** Every cgroup has a type, but for the first one. */
function isWholeHierarchy(mountPoint: string): boolean {
  return !existsSync(join(mountPoint, 'cgroup.type'));
}

/** Where a writable bpffs is mounted, `/sys/fs/bpf` preferred; undefined when nowhere. */
export function findBpffsMount(mounts = listMounts()): string | undefined {
  const found = mounts.filter((mount) => mount.type === 'bpf' && !mount.readOnly);
  return (found.find((mount) => mount.mountPoint === '/sys/fs/bpf') ?? found[0])?.mountPoint;
}

function unescapeMount(text: string): string {
  return text.replace(/\\([0-7]{3})/g, (_, octal: string) => String.fromCharCode(Number.parseInt(octal, 8)));
}
