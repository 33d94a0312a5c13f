import { execFileSync } from 'node:child_process';
import { accessSync, constants, existsSync } from 'node:fs';
import { join } from 'node:path';

/** A program or file of the host that a cluster needs. */
export interface Needed {
  readonly name: string;
  /** Searched in the folders of `PATH`, or at its path if it has a slash. */
  readonly at: string;
  /** Alternatives to the program. */
  readonly or?: readonly string[];
  /** Arguments with which a usable program exits with code 0. */
  readonly asked?: readonly string[];
  /** A file that is read, not a program. */
  readonly file?: true;
  /** Package or command that provides it. */
  readonly from: string;
}

/** Missing requirements of this machine. The message names each with its expected path and its source. */
export class MissingError extends Error {
  /** The exit code of a command that ends with it. */
  static readonly exitCode = 3;
}

const debian = (name: string, program = name): Needed => ({
  name,
  at: program,
  from: `apt-get install ${name}`,
});

/** What a cluster of namespaces on this machine needs. */
export const neededByMachines: readonly Needed[] = [
  debian('golang-go', 'go'),
  debian('containerd'),
  debian('containerd', 'ctr'),
  debian('runc'),
  debian('etcd-server', 'etcd'),
  debian('containernetworking-plugins', '/usr/lib/cni/ptp'),
  debian('openssl'),
  debian('util-linux', 'unshare'),
  debian('util-linux', 'nsenter'),
  debian('iproute2', 'ip'),
  debian('iptables'),
  debian('nftables', 'nft'),
  debian('ipset'),
  debian('conntrack'),
];

/** The program with which kind creates nodes. */
export const containerEngine: Needed = {
  name: 'a container engine',
  at: 'docker',
  or: ['podman'],
  // Many machines have the docker command without its daemon.
  asked: ['ps'],
  from: 'apt-get install docker.io, or podman, and for docker its daemon',
};

/** What a cluster of kind needs: nodes that are containers, and images that are released. */
export const neededByKind: readonly Needed[] = [
  // For files of Istio's module and of Gateway API's.
  debian('golang-go', 'go'),
  { name: 'kind', at: 'kind', from: 'kind 0.30 or newer, from kind.sigs.k8s.io' },
  containerEngine,
  {
    name: 'cgroup v2',
    at: '/sys/fs/cgroup/cgroup.controllers',
    file: true,
    from: "a host without hierarchies of cgroup v1, which Kubernetes' kubelet refuses from 1.35 on",
  },
  { name: 'kubectl', at: 'kubectl', from: 'kubectl, from kubernetes.io' },
  {
    name: 'istioctl',
    at: 'istioctl',
    from: 'istioctl of the version that package.json names, from istio.io',
  },
];

/** Throws {@link MissingError} if one of these is missing. `path` is a search path. */
export function checkNeeded(needed: readonly Needed[], path = process.env['PATH'] ?? ''): void {
  const folders = path.split(':').filter((folder) => folder !== '');
  const lines = needed.flatMap((one) => {
    const { name, at, or = [], file, from } = one;
    const programs = [at, ...or];
    if (file === true ? existsSync(at) : firstOfUse(one, path) !== undefined) return [];
    const found = programs.filter((program) => findProgram(program, path) !== undefined);
    if (found.length > 0)
      return `${name}: ${found.join(' and ')} is there, and "${[found[0], ...(one.asked ?? [])].join(' ')}" fails; provided by: ${from}`;
    return at.includes('/')
      ? `${name}: expected at ${at}; provided by: ${from}`
      : `${name}: the program ${programs.join(' or ')} is expected on the search path (${folders.join(', ')}); provided by: ${from}`;
  });
  if (lines.length > 0)
    throw new MissingError(`this machine lacks what a cluster needs:\n  ${lines.join('\n  ')}`);
}

/** Returns the first of alternative programs that exists and works. */
export function firstOfUse(
  { at, or = [], asked }: Pick<Needed, 'at' | 'or' | 'asked'>,
  path = process.env['PATH'] ?? '',
): string | undefined {
  return [at, ...or].find((program) => {
    const file = findProgram(program, path);
    return file !== undefined && (asked === undefined || succeeds(file, asked));
  });
}

/** A program that does not answer within this time counts as unusable. */
const ANSWER_MS = 20_000;

function succeeds(file: string, args: readonly string[]): boolean {
  try {
    execFileSync(file, args, { stdio: 'ignore', timeout: ANSWER_MS, killSignal: 'SIGKILL' });
    return true;
  } catch {
    return false;
  }
}

/**
 * Returns the file of a program in the folders of a search path, or at its path if it has a slash; undefined if it is
 * missing.
 */
export function findProgram(program: string, path = process.env['PATH'] ?? ''): string | undefined {
  const files = program.includes('/')
    ? [program]
    : path
        .split(':')
        .filter((folder) => folder !== '')
        .map((folder) => join(folder, program));
  return files.find(isExecutable);
}

function isExecutable(file: string): boolean {
  try {
    accessSync(file, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}
