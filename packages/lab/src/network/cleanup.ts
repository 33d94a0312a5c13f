import { existsSync, readdirSync } from 'node:fs';
import { labsWithState, removeStateDirectories } from './bpffs.ts';
import { cgroupRoot, removeCgroup } from './cgroups.ts';
import { deleteNamespaces, isOrphan, NAMESPACE_DIRECTORY } from './namespaces.ts';

/** Clean-ups of labs that are open, by their owner. */
const cleanUps = new Map<object, () => void>();

const SIGNALS = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const;

/** Runs `cleanUp`, which must be synchronous, when the process exits while `owner` is still open. */
export function cleanUpAtExit(owner: object, cleanUp: () => void): void {
  if (cleanUps.size === 0) {
    process.on('exit', runAll);
    for (const signal of SIGNALS) process.on(signal, onSignal);
  }
  cleanUps.set(owner, cleanUp);
}

export function forgetAtExit(owner: object): void {
  if (!cleanUps.delete(owner) || cleanUps.size > 0) return;
  process.off('exit', runAll);
  for (const signal of SIGNALS) process.off(signal, onSignal);
}

function runAll(): void {
  for (const cleanUp of [...cleanUps.values()]) cleanUp();
}

/** Ends the process as the signal would have, unless the program has another handler for it. */
function onSignal(signal: NodeJS.Signals): void {
  if (process.listenerCount(signal) > 1) return;
  runAll();
  process.kill(process.pid, signal);
}

/**
 * Removes leftovers of dead processes' labs: their processes, cgroups, namespaces, pins and mounts. Labs of running
 * processes, including those of other users of this machine, are never touched. Returns the names of what was removed.
 */
export function sweep(): string[] {
  const root = cgroupRoot();
  const cgroups = readdirSync(root).filter(isOrphan);
  for (const name of cgroups) removeCgroup(`${root}/${name}`);
  const namespaces = existsSync(NAMESPACE_DIRECTORY) ? readdirSync(NAMESPACE_DIRECTORY).filter(isOrphan) : [];
  deleteNamespaces(namespaces);
  const pins = labsWithState().filter(isOrphan);
  for (const name of pins) removeStateDirectories(name);
  return [...cgroups, ...namespaces, ...pins];
}
