import { spawnSync } from 'node:child_process';
import { mkdirSync, readFileSync } from 'node:fs';
import { labProgram, runCommand } from './commands.ts';

/** Where `ip netns` looks: lab namespaces show up in `ip netns list` and work with `ip netns exec`. */
export const NAMESPACE_DIRECTORY = '/run/netns';

const PREFIX = 'kmlab';
let labs = 0;

/** Start time of a process in clock ticks since boot, or `undefined` when there is no such process. */
function processStartTime(pid: number): string | undefined {
  let stat: string;
  try {
    stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
  } catch {
    return undefined;
  }
  // The second field is the command in parentheses and may itself hold spaces and parentheses.
  return stat.slice(stat.lastIndexOf(')') + 2).split(' ')[19];
}

/**
 * A name that no other lab has, now or after this process is gone: process id, its start time and a counter. Everything
 * that a lab creates in the system has it in its name, so that leftovers can be distinguished from what is in use. No
 * dots: bpffs does not allow them.
 */
export function newLabName(): string {
  labs += 1;
  return `${PREFIX}-${process.pid}-${processStartTime(process.pid)}-${labs}`;
}

/** Whether `name` was made by {@link newLabName} in a process that no longer runs. */
export function isOrphan(name: string): boolean {
  const match = /^kmlab-(\d+)-(\d+)-\d+(?:\.|$)/.exec(name);
  if (match === null) return false;
  return processStartTime(Number(match[1])) !== match[2];
}

/** Settings below /proc/sys/net of every namespace of the lab. */
const COMMON_SETTINGS: Readonly<Record<string, string>> = {
  // No duplicate address detection: an address is usable the moment it is set.
  'ipv6/conf/all/accept_dad': '0',
  'ipv6/conf/default/accept_dad': '0',
  'ipv6/conf/default/accept_ra': '0',
  // Tests open tens of thousands of connections from one address within seconds.
  'ipv4/ip_local_port_range': '16384 65535',
  'ipv4/tcp_tw_reuse': '1',
  // Source addresses are kept across the tunnel, so a reply may take another route than the request.
  'ipv4/conf/all/rp_filter': '0',
  'ipv4/conf/default/rp_filter': '0',
};

/** Additional settings of a namespace that forwards packets: a node, the wire. */
export const FORWARDING_SETTINGS: Readonly<Record<string, string>> = {
  'ipv4/ip_forward': '1',
  'ipv6/conf/all/forwarding': '1',
  'ipv4/conf/all/send_redirects': '0',
  'ipv4/conf/default/send_redirects': '0',
};

export function namespacePath(name: string): string {
  return `${NAMESPACE_DIRECTORY}/${name}`;
}

/** Makes a network namespace with lo up. Errors as `runCommand`. */
export async function createNamespace(
  name: string,
  settings: Readonly<Record<string, string>> = {},
): Promise<void> {
  mkdirSync(NAMESPACE_DIRECTORY, { recursive: true });
  const texts = Object.entries({ ...COMMON_SETTINGS, ...settings }).map(([key, value]) => `${key}=${value}`);
  await runCommand(labProgram('namespace'), ['create', namespacePath(name), ...texts]);
}

/**
 * Deletes namespaces; ignores those that no longer exist. Synchronous, because it also runs while the process
 * exits. Returns a description of the failure, or undefined.
 */
export function deleteNamespaces(names: readonly string[]): string | undefined {
  if (names.length === 0) return undefined;
  const done = spawnSync(labProgram('namespace'), ['delete', ...names.map(namespacePath)], {
    encoding: 'utf8',
  });
  return done.status === 0 ? undefined : (done.error?.message ?? done.stderr.trim());
}
