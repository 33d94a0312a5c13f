import type { MeshUpdate } from '@kmesh/api';
import type { MeshView } from './mesh-view.ts';

/**
 * What the removal of an `Address` resource means (contract 3.5): a workload uid first, then the service
 * `namespace/hostname`. Unknown names, and names with a deeper slash that are no workload, mean nothing.
 */
export function removalUpdates(view: Pick<MeshView, 'workload' | 'service'>, name: string): MeshUpdate[] {
  if (view.workload(name) !== undefined) return [{ kind: 'removeWorkload', uid: name }];
  const slash = name.indexOf('/');
  if (slash < 0 || name.includes('/', slash + 1)) return [];
  return view.service(name) === undefined ? [] : [{ kind: 'removeService', key: name }];
}
