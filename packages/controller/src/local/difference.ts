import { isDeepStrictEqual } from 'node:util';
import type { MeshUpdate } from '@kmesh/api';
import type { LocalMesh } from './local-mesh.ts';

/**
 * The updates that turn one local mesh into another; with no previous one, everything. Updates come before removals,
 * so nothing that only moved is missing in between.
 */
export function localMeshUpdates(previous: LocalMesh | undefined, next: LocalMesh): MeshUpdate[] {
  const updates: MeshUpdate[] = [];
  for (const [key, service] of next.services) {
    if (!isDeepStrictEqual(previous?.services.get(key), service)) updates.push({ kind: 'service', service });
  }
  for (const [uid, workload] of next.workloads) {
    // A service that comes (back) has lost its endpoints: its workloads have to be sent again (contract 3.7).
    const joinsNewService = [...workload.services.keys()].some(
      (key) => next.services.has(key) && previous?.services.has(key) !== true,
    );
    if (joinsNewService || !isDeepStrictEqual(previous?.workloads.get(uid), workload)) {
      updates.push({ kind: 'workload', workload });
    }
  }
  for (const [key, policy] of next.policies) {
    if (!isDeepStrictEqual(previous?.policies.get(key), policy)) updates.push({ kind: 'policy', policy });
  }
  for (const [key, route] of next.routes) {
    if (!isDeepStrictEqual(previous?.routes.get(key), route)) updates.push({ kind: 'route', route });
  }
  for (const uid of previous?.workloads.keys() ?? []) {
    if (!next.workloads.has(uid)) updates.push({ kind: 'removeWorkload', uid });
  }
  for (const key of previous?.services.keys() ?? []) {
    if (!next.services.has(key)) updates.push({ kind: 'removeService', key });
  }
  for (const key of previous?.policies.keys() ?? []) {
    if (!next.policies.has(key)) updates.push({ kind: 'removePolicy', key });
  }
  for (const key of previous?.routes.keys() ?? []) {
    if (!next.routes.has(key)) updates.push({ kind: 'removeRoute', key });
  }
  return updates;
}
