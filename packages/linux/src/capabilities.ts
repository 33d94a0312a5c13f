import { existsSync, globSync, readFileSync } from 'node:fs';
import { join, relative } from 'node:path';
import { addon } from './addon.ts';
import { errnoName } from './errors.ts';

/** Names of the capabilities; stable. */
export type CapabilityName =
  | 'bpf'
  | 'cgroup-mount'
  | 'bpffs-mount'
  | 'btf'
  | 'cgroup-connect'
  | 'cgroup-getpeername'
  | 'cgroup-link'
  | 'netns-cookie-connect'
  | 'netns-cookie-sockops'
  | 'set-retval'
  | 'socket-storage-connect'
  | 'socket-storage-sockops'
  | 'sockops'
  | 'socket-list'
  | 'kernel-reads'
  | 'ring-buffer'
  | 'mmap-array'
  | 'batch'
  | 'tcx'
  | 'program-statistics'
  | 'network-namespaces';

/** One row of the capability table. */
export interface Capability {
  readonly name: CapabilityName;
  readonly description: string;
  readonly available: boolean;
  /** First Linux version that has it, such as `5.8`. */
  readonly requiredKernel: string;
  /** Why it is unavailable, or the mount point; empty otherwise. */
  readonly reason: string;
}

/** Result of a probe. */
type Finding = { available: boolean; reason: string };

const programTypes = { classifier: 3, sockOps: 13, sockAddr: 18, systemCall: 31 } as const;
const attachTypes = {
  connect4: 10,
  connect6: 11,
  getpeername4: 29,
  getpeername6: 30,
  tcxIngress: 46,
} as const;
const helpers = { skStorageGet: 107, probeReadKernel: 113, getNetnsCookie: 122, setRetval: 187 } as const;
/** `r0 = 1; exit` */
const returnOne = Uint8Array.of(0xb7, 0, 0, 0, 1, 0, 0, 0, 0x95, 0, 0, 0, 0, 0, 0, 0);
const EBADF = 9;
const ENODEV = 19;

const probes: readonly [CapabilityName, string, requiredKernel: string, () => Finding][] = [
  ['bpf', 'bpf() permitted', '4.10', bpfPermitted],
  ['cgroup-mount', 'cgroup v2 mount', '4.5', () => fromMount("the host's cgroup v2", findCgroupMount())],
  ['bpffs-mount', 'writable bpffs mount', '4.4', () => fromMount('a writable bpffs', findBpffsMount())],
  ['btf', "the kernel's own BTF", '4.18', kernelBtf],
  [
    'cgroup-connect',
    'cgroup/connect4 and connect6',
    '4.17',
    () => loads(attachTypes.connect4, attachTypes.connect6),
  ],
  [
    'cgroup-getpeername',
    'cgroup/getpeername4 and 6',
    '5.8',
    () => loads(attachTypes.getpeername4, attachTypes.getpeername6),
  ],
  [
    'cgroup-link',
    'links to cgroups',
    '5.7',
    () => links(programTypes.sockAddr, attachTypes.connect4, -1, EBADF),
  ],
  ['netns-cookie-connect', 'namespace cookie in connect', '5.7', () => helper('sockAddr', 'getNetnsCookie')],
  ['netns-cookie-sockops', 'namespace cookie in sockops', '5.15', () => helper('sockOps', 'getNetnsCookie')],
  ['set-retval', 'bpf_set_retval in connect', '6.1', () => helper('sockAddr', 'setRetval')],
  ['socket-storage-connect', 'socket storage in connect', '5.3', () => helper('sockAddr', 'skStorageGet')],
  ['socket-storage-sockops', 'socket storage in sockops', '5.3', () => helper('sockOps', 'skStorageGet')],
  ['sockops', 'sockops programs', '4.13', () => fromProbe(addon().probeProgramType(programTypes.sockOps))],
  ['socket-list', 'TCP sockets over netlink (CONFIG_INET_DIAG)', '3.3', socketList],
  ['kernel-reads', 'kernel memory reads in syscall programs', '5.14', kernelReads],
  ['ring-buffer', 'ring buffer maps', '5.8', () => fromProbe(addon().probeMapType(27))],
  ['mmap-array', 'mmap-able arrays', '5.5', mmapArray],
  ['batch', 'batch operations on hash maps', '5.6', () => fromProbe(addon().probeBatch())],
  [
    'tcx',
    'tcx links',
    '6.6',
    () => links(programTypes.classifier, attachTypes.tcxIngress, 0x7fff_ffff, ENODEV),
  ],
  ['program-statistics', 'run statistics of programs', '5.8', statistics],
  ['network-namespaces', 'entering network namespaces and their cookies', '5.14', namespaces],
];

/** Probes that do not need `bpf()`. */
const withoutBpf: ReadonlySet<CapabilityName> = new Set([
  'bpf',
  'cgroup-mount',
  'bpffs-mount',
  'btf',
  'network-namespaces',
  'socket-list',
]);

let cached: readonly Capability[] | undefined;

/**
 * Probes the capabilities of this kernel and process by trying each. The result is cached; `refresh` probes again, for
 * instance after a mount.
 */
export function probeCapabilities(options: { refresh?: boolean } = {}): readonly Capability[] {
  if (cached !== undefined && options.refresh !== true) return cached;
  const permitted = bpfPermitted();
  const denied: Finding = { available: false, reason: `bpf() is not permitted (${permitted.reason})` };
  cached = probes.map(([name, description, requiredKernel, probe]) => {
    const allowed = permitted.available || withoutBpf.has(name);
    const finding = allowed ? probe() : denied;
    const reason =
      finding.reason === '' && !finding.available ? `needs Linux ${requiredKernel} or later` : finding.reason;
    return { name, description, available: finding.available, requiredKernel, reason };
  });
  return cached;
}

/** Returns one row of {@link probeCapabilities}. */
export function capability(name: CapabilityName): Capability {
  const row = probeCapabilities().find((entry) => entry.name === name);
  if (row === undefined) throw new RangeError(`no capability is named ${name}`);
  return row;
}

/** Converts the result of libbpf's probes: 1, 0, or a negated errno if probing failed. */
function fromProbe(result: number): Finding {
  if (result > 0) return { available: true, reason: '' };
  if (result === 0) return { available: false, reason: '' };
  return { available: false, reason: refused(-result) };
}

/** Loads a program, because libbpf's probes do not distinguish "not permitted" from "not supported". */
function bpfPermitted(): Finding {
  const { fd } = addon().probeInstructions(programTypes.classifier, 0, returnOne);
  if (fd < 0) return fromProbe(fd === -38 ? 0 : fd);
  addon().closeDescriptor(fd);
  return { available: true, reason: '' };
}

function refused(errno: number): string {
  const denied = errno === 1 || errno === 13;
  return denied ? `${errnoName(errno)}: needs CAP_BPF and CAP_NET_ADMIN, or CAP_SYS_ADMIN` : errnoName(errno);
}

function fromMount(what: string, mountPoint: string | undefined): Finding {
  if (mountPoint !== undefined) return { available: true, reason: `at ${mountPoint}` };
  return { available: false, reason: `${what} is not mounted` };
}

function kernelBtf(): Finding {
  const available = existsSync('/sys/kernel/btf/vmlinux');
  return { available, reason: available ? '' : '/sys/kernel/btf/vmlinux is missing (CONFIG_DEBUG_INFO_BTF)' };
}

/** Loads an empty program for each attach type. */
function loads(...wanted: number[]): Finding {
  for (const attachType of wanted) {
    const { fd } = addon().probeInstructions(programTypes.sockAddr, attachType, returnOne);
    if (fd < 0) return fromProbe(fd === -22 ? 0 : fd);
    addon().closeDescriptor(fd);
  }
  return { available: true, reason: '' };
}

/**
 * Links an empty program to a target that cannot exist: a kernel that supports the link type returns `expected`, any
 * other EINVAL.
 */
function links(programType: number, attachType: number, target: number, expected: number): Finding {
  const { fd } = addon().probeInstructions(
    programType,
    programType === programTypes.sockAddr ? attachType : 0,
    returnOne,
  );
  if (fd < 0) return fromProbe(fd === -22 ? 0 : fd);
  try {
    const result = addon().linkCreate(fd, target, attachType, -1);
    if (result === -expected) return { available: true, reason: '' };
    if (result >= 0) addon().closeDescriptor(result);
    return fromProbe(result === -22 ? 0 : result);
  } finally {
    addon().closeDescriptor(fd);
  }
}

function helper(program: 'sockAddr' | 'sockOps', name: keyof typeof helpers): Finding {
  return fromProbe(addon().probeHelper(programTypes[program], helpers[name]));
}

/** A locked-down kernel supports the program type but not the helper. */
function kernelReads(): Finding {
  const finding = fromProbe(addon().probeHelper(programTypes.systemCall, helpers.probeReadKernel));
  const hasType = addon().probeProgramType(programTypes.systemCall) > 0;
  return finding.available || !hasType
    ? finding
    : {
        available: false,
        reason: 'the kernel is locked down to confidentiality, or CAP_PERFMON and CAP_SYS_ADMIN are missing',
      };
}

function socketList(): Finding {
  const result = addon().probeTcpSockets();
  // Without the module no handler is registered (ENOENT).
  return result === 0 ? { available: true, reason: '' } : fromProbe(result === -2 ? 0 : result);
}

function mmapArray(): Finding {
  const fd = addon().mapCreate(2, 'kmesh_probe', 4, 8, 1, 1 << 10);
  if (fd < 0) return fromProbe(fd === -22 ? 0 : fd);
  addon().closeDescriptor(fd);
  return { available: true, reason: '' };
}

function statistics(): Finding {
  const fd = addon().statisticsOpen();
  if (fd < 0) return fromProbe(fd === -22 ? 0 : fd);
  addon().closeDescriptor(fd);
  return { available: true, reason: '' };
}

function namespaces(): Finding {
  const fd = addon().namespaceOpen('/proc/thread-self/ns/net');
  if (fd < 0) return fromProbe(fd);
  const cookie = addon().namespaceCookie(fd);
  addon().closeDescriptor(fd);
  return typeof cookie === 'bigint'
    ? { available: true, reason: '' }
    : fromProbe(cookie === -92 ? 0 : cookie);
}

/** A line of `/proc/self/mountinfo`. */
interface Mount {
  readonly mountPoint: string;
  readonly type: string;
  /** The mounted directory of the file system; `/` if the whole file system is mounted. */
  readonly root: string;
  readonly readOnly: boolean;
}

/** Lists the mounts visible to this process. `text` replaces `/proc/self/mountinfo`. */
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
 * Returns the mount point of the host's whole cgroup v2 hierarchy, preferably of its root; undefined if it is not
 * mounted. A container's own part does not count: programs attached there would see only that container.
 */
export function findCgroupMount(mounts = listMounts(), whole = isWholeHierarchy): string | undefined {
  const cgroups = mounts.filter((mount) => mount.type === 'cgroup2' && whole(mount.mountPoint));
  return (cgroups.find((mount) => mount.root === '/') ?? cgroups[0])?.mountPoint;
}

/**
 * Returns why programs at this directory would see only this container's processes and not the host's pods, or
 * `undefined` if they would see others too. A container with its own cgroup namespace sees its part as the whole.
 *
 * @param own this process's cgroup, as in `/proc/self/cgroup`
 */
export function cgroupObstacle(
  directory: string,
  mounts = listMounts(),
  own = ownCgroup(),
  whole = isWholeHierarchy,
  holdsOthers = holdsOtherContainers,
): string | undefined {
  const mount = mounts
    .filter(({ mountPoint }) => directory === mountPoint || directory.startsWith(join(mountPoint, '/')))
    .sort((one, other) => one.mountPoint.length - other.mountPoint.length)
    .at(-1);
  if (mount?.type !== 'cgroup2') return `${directory} is not in a cgroup v2 mount`;
  if (whole(mount.mountPoint)) return undefined;
  const place = join(mount.root, relative(mount.mountPoint, directory));
  // A root above this process's cgroup namespace: the mount comes from the host.
  if (mount.root.startsWith('/..')) return undefined;
  const isOwn = place === own || place.startsWith(join(own, '/'));
  if (mount.root !== '/' && !isOwn) return undefined;
  // If the node itself is in a cgroup namespace, that namespace's root is the node's: the daemon is below it, and so
  // are others. Below a container's own root are only its own processes.
  const isAbove = !isOwn && own.startsWith(join(place, '/'));
  return !(isAbove && holdsOthers(directory))
    ? `${directory} is this container's own part of the cgroups, not the host's: it contains no other pod's processes`
    : undefined;
}

/**
 * Returns the cgroup v2 directory for `directory`: itself, or the mount point of cgroup v2 below it, as in
 * `/sys/fs/cgroup` on a node with both versions.
 */
export function cgroupDirectory(directory: string, mounts = listMounts()): string {
  const points = mounts.filter(({ type }) => type === 'cgroup2').map(({ mountPoint }) => mountPoint);
  if (points.some((point) => directory === point || directory.startsWith(join(point, '/')))) return directory;
  return points.find((point) => point.startsWith(join(directory, '/'))) ?? directory;
}

/** Returns whether a process of another PID namespace is in this cgroup or below: its PID reads as 0. */
function holdsOtherContainers(directory: string): boolean {
  return ['.', ...globSync('**/', { cwd: directory })].some((below) => {
    try {
      return /^0$/m.test(readFileSync(join(directory, below, 'cgroup.procs'), 'utf8'));
    } catch {
      // Removed meanwhile, or a threaded cgroup, whose processes are listed in its parent.
      return false;
    }
  });
}

/** Returns the path in the cgroup v2 hierarchy, from the root of the cgroup namespace. */
function ownCgroup(text = readFileSync('/proc/self/cgroup', 'utf8')): string {
  return /^0::(.*)$/m.exec(text)?.[1] ?? '/';
}

/** Returns whether a mount is of the whole hierarchy: every cgroup except its root has a type. */
function isWholeHierarchy(mountPoint: string): boolean {
  return !existsSync(join(mountPoint, 'cgroup.type'));
}

/** Returns the mount point of a writable bpffs, preferably `/sys/fs/bpf`; undefined if there is none. */
export function findBpffsMount(mounts = listMounts()): string | undefined {
  const found = mounts.filter((mount) => mount.type === 'bpf' && !mount.readOnly);
  return (found.find((mount) => mount.mountPoint === '/sys/fs/bpf') ?? found[0])?.mountPoint;
}

function unescapeMount(text: string): string {
  return text.replace(/\\([0-7]{3})/g, (_, octal: string) => String.fromCharCode(Number.parseInt(octal, 8)));
}
