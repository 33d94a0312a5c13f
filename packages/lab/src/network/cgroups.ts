import { existsSync, mkdirSync, readdirSync, readFileSync, rmdirSync, writeFileSync } from 'node:fs';
import { KmeshError } from '@kmesh/api';

/**
 * Returns the mount point of cgroup v2; it is not always /sys/fs/cgroup (hybrid layouts).
 *
 * @throws KMESH_LAB_NO_CGROUP when it is not mounted.
 */
export function cgroupRoot(): string {
  for (const line of readFileSync('/proc/self/mounts', 'utf8').split('\n')) {
    const [, directory, type] = line.split(' ');
    if (type === 'cgroup2' && directory !== undefined) return directory;
  }
  throw new KmeshError(
    'KMESH_LAB_NO_CGROUP',
    'No cgroup v2 file system is mounted; run: mount -t cgroup2 none /sys/fs/cgroup/unified',
  );
}

export function createCgroup(path: string): void {
  mkdirSync(path);
}

/** Ids of the processes in a cgroup and everything below it. */
function cgroupProcesses(path: string): number[] {
  const ids = readIds(`${path}/cgroup.procs`);
  for (const child of childCgroups(path)) ids.push(...cgroupProcesses(child));
  return ids;
}

/**
 * Kills all processes in a cgroup and its descendants, and removes it. Synchronous, because it also runs while the
 * process exits. Returns a description of the failure, or undefined.
 */
export function removeCgroup(path: string): string | undefined {
  const deadline = Date.now() + 2000;
  while (existsSync(path)) {
    try {
      killAll(path);
      removeEmpty(path);
    } catch (error) {
      // Dying processes hold their cgroup for a moment.
      if (Date.now() > deadline) return `cannot remove the cgroup ${path}: ${String(error)}`;
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 2);
    }
  }
  return undefined;
}

function killAll(path: string): void {
  const ids = cgroupProcesses(path);
  if (ids.length === 0) return;
  if (existsSync(`${path}/cgroup.kill`)) {
    writeFileSync(`${path}/cgroup.kill`, '1');
    return;
  }
  for (const id of ids) process.kill(id, 'SIGKILL');
}

function removeEmpty(path: string): void {
  for (const child of childCgroups(path)) removeEmpty(child);
  rmdirSync(path);
}

function childCgroups(path: string): string[] {
  return readdirSync(path, { withFileTypes: true })
    .filter((entry) => entry.isDirectory())
    .map((entry) => `${path}/${entry.name}`);
}

function readIds(path: string): number[] {
  try {
    return readFileSync(path, 'utf8').split('\n').filter(Boolean).map(Number);
  } catch {
    return [];
  }
}
