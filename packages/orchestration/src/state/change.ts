import type { Service, Workload } from '@kmesh/api';
import type { MeshChange } from './mesh-view.ts';

/** A {@link MeshChange} that is being written. */
export interface ChangeDraft extends MeshChange {
  readonly workloads: Set<string>;
  readonly services: Set<string>;
  readonly policies: Set<string>;
  readonly addresses: Set<string>;
  cidrs: boolean;
}

/** A change that touched nothing yet. */
export function emptyChange(): ChangeDraft {
  return {
    workloads: new Set(),
    services: new Set(),
    policies: new Set(),
    addresses: new Set(),
    cidrs: false,
  };
}

/** Whether nothing was touched. */
export function isEmptyChange(change: MeshChange): boolean {
  const { workloads, services, policies, addresses, cidrs } = change;
  return workloads.size + services.size + policies.size + addresses.size === 0 && !cidrs;
}

/** Adds `change` to `draft`. */
export function addChange(draft: ChangeDraft, change: MeshChange): void {
  for (const uid of change.workloads) draft.workloads.add(uid);
  for (const key of change.services) draft.services.add(key);
  for (const key of change.policies) draft.policies.add(key);
  for (const address of change.addresses) draft.addresses.add(address);
  draft.cidrs ||= change.cidrs;
}

/** Notes every address of a workload. */
export function noteWorkloadAddresses(draft: ChangeDraft, workload: Workload | undefined): void {
  if (workload === undefined || workload.networkMode === 'HostNetwork') return;
  for (const ip of workload.addresses) draft.addresses.add(`${workload.network}/${ip}`);
}

/** Notes every VIP of a service. */
export function noteServiceAddresses(draft: ChangeDraft, service: Service | undefined): void {
  if (service === undefined) return;
  for (const { network, ip } of service.vips) draft.addresses.add(`${network}/${ip}`);
  if (service.cidrVips.length > 0) draft.cidrs = true;
}
