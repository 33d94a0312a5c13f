import { spawnSync } from 'node:child_process';
import { mkdirSync, readdirSync, readFileSync, rmdirSync, unlinkSync } from 'node:fs';
import { runCommand } from './commands.ts';

const SYSTEM_MOUNT = '/sys/fs/bpf';

/** Directories of labs: separate bpffs mounts, sockets of agents. */
export const STATE_DIRECTORY = '/run/kmesh-lab';

/** Creates a directory for pins: in the system's bpffs if mounted, else (or if `wantsOwn`) in a mount for this lab. */
export async function createPinDirectory(lab: string, wantsOwn: boolean): Promise<string> {
  const shared = `${SYSTEM_MOUNT}/${lab}`;
  if (!wantsOwn && mountType(SYSTEM_MOUNT) === 'bpf') {
    mkdirSync(shared);
    return shared;
  }
  const own = `${STATE_DIRECTORY}/${lab}/bpf`;
  mkdirSync(own, { recursive: true });
  await runCommand('mount', ['-t', 'bpf', 'bpf', own]);
  return own;
}

/**
 * Removes every pin of a lab, its mount and its other files. Synchronous, because it also runs while the process exits.
 */
export function removeStateDirectories(lab: string): void {
  const own = `${STATE_DIRECTORY}/${lab}`;
  if (mountType(`${own}/bpf`) === 'bpf') spawnSync('umount', ['-l', `${own}/bpf`]);
  removeTree(own);
  removeTree(`${SYSTEM_MOUNT}/${lab}`);
  try {
    rmdirSync(STATE_DIRECTORY);
  } catch {
    // Another lab uses it, or it never existed.
  }
}

/** Labs, alive or not, that have pins or files. */
export function labsWithState(): string[] {
  return [STATE_DIRECTORY, SYSTEM_MOUNT].flatMap((path) => ifExists(() => readdirSync(path)) ?? []);
}

function mountType(directory: string): string | undefined {
  const lines = readFileSync('/proc/self/mounts', 'utf8').split('\n');
  return lines.find((line) => line.split(' ')[1] === directory)?.split(' ')[2];
}

/** Removes a directory tree. Tolerates other processes that remove the same tree concurrently. */
function removeTree(path: string): void {
  for (const entry of ifExists(() => readdirSync(path, { withFileTypes: true })) ?? []) {
    const inside = `${path}/${entry.name}`;
    if (entry.isDirectory()) removeTree(inside);
    else ifExists(() => unlinkSync(inside));
  }
  ifExists(() => rmdirSync(path));
}

function ifExists<Result>(act: () => Result): Result | undefined {
  try {
    return act();
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw error;
  }
}
