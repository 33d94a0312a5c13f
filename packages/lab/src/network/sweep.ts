import { existsSync, readdirSync } from 'node:fs';
import { labsWithState, removeStateDirectories } from './bpffs.ts';
import { cgroupRoot, removeCgroup } from './cgroups.ts';
import { isOrphan, NAMESPACE_DIRECTORY } from './names.ts';
import { deleteNamespaces } from './namespaces.ts';

/**
 * Removes what labs of dead processes left behind: their processes, cgroups, namespaces, pins and mounts. Labs of
 * living processes, of other users of this machine too, are never touched. Returns the names of what was removed.
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
