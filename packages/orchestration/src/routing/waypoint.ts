import type { GatewayAddress, Service, Workload } from '@kmesh/api';
import { identityUriOf } from '../policy/identity.ts';
import { serviceKey } from '../state/mesh-state.ts';
import type { MeshView } from '../state/mesh-view.ts';
import { drawWeighted } from './balance.ts';
import { findDestination } from './lookup.ts';

/**
 * Chooses the waypoint reference for one call of a service: a weighted one by weight, else the plain field
 * (docs/contract.md 7.2, step 3). Returns `undefined` when the service has none.
 */
export function chooseServiceWaypoint(service: Service, random: () => number): GatewayAddress | undefined {
  return drawWeighted(service.weightedWaypoints, random)?.destination ?? service.waypoint;
}

/** Returns the waypoint references that clients may use now: those with a weight above 0, else the plain field. */
export function serviceWaypoints(service: Service): readonly GatewayAddress[] {
  const weighted = service.weightedWaypoints.filter(({ weight }) => weight > 0);
  if (weighted.length > 0) return weighted.map(({ destination }) => destination);
  return service.waypoint === undefined ? [] : [service.waypoint];
}

/**
 * Returns every waypoint reference of a service, at any weight: a client with older weights may still call through
 * any of them.
 */
export function allServiceWaypoints(service: Service): readonly GatewayAddress[] {
  const weighted = service.weightedWaypoints.map(({ destination }) => destination);
  return service.waypoint === undefined ? weighted : [...weighted, service.waypoint];
}

/** A call to a workload that has a waypoint. */
interface WaypointCall {
  readonly destination: Workload;
  readonly source: Workload;
  readonly clientIp: string;
}

/**
 * Returns whether the caller is the destination workload's own waypoint: it has the identity of a workload behind the
 * waypoint reference, and that workload owns the client's IP. Identity alone is not enough (docs/contract.md 7.2,
 * step 8).
 */
export function isCallFromWaypoint(view: MeshView, { destination, source, clientIp }: WaypointCall): boolean {
  if (destination.waypoint === undefined) return false;
  const identity = identityUriOf(source);
  return someWorkloadBehind(
    view,
    destination.waypoint,
    (workload) => identityUriOf(workload) === identity && workload.addresses.includes(clientIp),
  );
}

/**
 * Returns whether a waypoint reference leads to this workload: as an endpoint of the service, or as the owner of the
 * IP.
 */
export function leadsToWorkload(
  view: MeshView,
  waypoint: GatewayAddress,
  { workload, ip }: { readonly workload: Workload; readonly ip: string },
): boolean {
  const found = findDestination(view, waypoint.destination);
  if (found === undefined) return false;
  if (found.kind === 'workload') return found.workload.addresses.includes(ip);
  return view.endpoints(serviceKey(found.service)).has(workload.uid);
}

function someWorkloadBehind(
  view: MeshView,
  waypoint: GatewayAddress,
  test: (workload: Workload) => boolean,
): boolean {
  const found = findDestination(view, waypoint.destination);
  if (found === undefined) return false;
  if (found.kind === 'workload') return test(found.workload);
  for (const uid of view.endpoints(serviceKey(found.service)).keys()) {
    const workload = view.workload(uid);
    if (workload !== undefined && test(workload)) return true;
  }
  return false;
}
