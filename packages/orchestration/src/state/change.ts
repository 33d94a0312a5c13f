import type { Service, Workload } from '@kmesh/api';

/** The objects that one batch of updates touched: what derived tables may have to recompute. */
export interface MeshChange {
  /** Uids of workloads added, changed or removed. */
  readonly workloads: ReadonlySet<string>;
  /** Keys of services added, changed or removed, and of services with changed endpoints. */
  readonly services: ReadonlySet<string>;
  /** Keys of policies added, changed or removed. */
  readonly policies: ReadonlySet<string>;
  /** `network/ip` of VIPs and workload addresses that may resolve differently now. */
  readonly addresses: ReadonlySet<string>;
  /** Whether CIDR VIPs were added or removed. */
  readonly cidrs: boolean;
}

/** A {@link MeshChange} under construction. */
export interface ChangeDraft extends MeshChange {
  readonly workloads: Set<string>;
  readonly services: Set<string>;
  readonly policies: Set<string>;
  readonly addresses: Set<string>;
  cidrs: boolean;
}

/** Returns a change that touches nothing. */
export function emptyChange(): ChangeDraft {
  return {
    workloads: new Set(),
    services: new Set(),
    policies: new Set(),
    addresses: new Set(),
    cidrs: false,
  };
}

/** Returns whether a change touches nothing. */
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

/** Adds every address of a workload to `draft`. */
export function noteWorkloadAddresses(draft: ChangeDraft, workload: Workload | undefined): void {
  if (workload === undefined || workload.networkMode === 'HostNetwork') return;
  for (const ip of workload.addresses) draft.addresses.add(`${workload.network}/${ip}`);
}

/** Adds every VIP of a service to `draft`. */
export function noteServiceAddresses(draft: ChangeDraft, service: Service | undefined): void {
  if (service === undefined) return;
  for (const { network, ip } of service.vips) draft.addresses.add(`${network}/${ip}`);
  if (service.cidrVips.length > 0) draft.cidrs = true;
}
