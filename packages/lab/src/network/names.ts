import { readFileSync } from 'node:fs';

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
 * that a lab leaves in the system carries it, so that leftovers can be told from what is in use. No dots: bpffs takes
 * none.
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
