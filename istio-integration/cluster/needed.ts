import { accessSync, constants } from 'node:fs';
import { join } from 'node:path';

/** A program or file of the host that a cluster needs. */
export interface Needed {
  readonly name: string;
  /** Looked for in the folders of `PATH`, or, where it has a slash, at that path. */
  readonly at: string;
  /** What brings it. */
  readonly from: string;
}

/** Something is not on this machine. Its message names each thing, where it is expected, and what brings it. */
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
  { name: 'go', at: 'go', from: 'go 1.26 or newer, from go.dev' },
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

/** Fails with {@link MissingError} where one of these is not there. `path` is a search path. */
export function checkNeeded(needed: readonly Needed[], path = process.env['PATH'] ?? ''): void {
  const folders = path.split(':').filter((folder) => folder !== '');
  const missing = needed.filter(({ at }) =>
    at.includes('/') ? !isExecutable(at) : !folders.some((folder) => isExecutable(join(folder, at))),
  );
  if (missing.length === 0) return;
  const lines = missing.map(({ name, at, from }) =>
    at.includes('/')
      ? `${name}: expected at ${at}; brought by: ${from}`
      : `${name}: the program ${at} is expected on the search path (${folders.join(', ')}); brought by: ${from}`,
  );
  throw new MissingError(`this machine lacks what a cluster needs:\n  ${lines.join('\n  ')}`);
}

function isExecutable(file: string): boolean {
  try {
    accessSync(file, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}
