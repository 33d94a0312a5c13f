import type { Service, Workload } from '@kmesh/api';
import type { LocalitySource, MeshView } from '@kmesh/orchestration';
import { bestServiceByCidr, bestServiceByVip, serviceWaypoints } from '@kmesh/orchestration';
import { isOnNode } from './service-slots.ts';

/** What an address means to the connections of one client namespace, as far as the kernel path can say. */
export type AddressMeaning =
  /** The tables cannot say it exactly: the tunnel path decides. */
  | { readonly kind: 'tunnel' }
  /** Not of the mesh, or a PASSTHROUGH service: the dialled address is kept. */
  | { readonly kind: 'outside'; readonly service?: Service }
  /** A plain TCP workload: the dialled address is kept. */
  | { readonly kind: 'workload'; readonly workload: Workload }
  /** An HBONE workload of this node: the dialled address is kept where the verdict is allow. */
  | { readonly kind: 'verdict'; readonly workload: Workload }
  /** A service: declared ports are balanced, others refused. */
  | { readonly kind: 'service'; readonly service: Service };

const tunnel: AddressMeaning = { kind: 'tunnel' };

/** A namespace that no service can be in: its view is that of every namespace without services of its own. */
export const GENERIC_NAMESPACE = '\0';

/**
 * What `ip` means to a client namespace (contract 7.1, 7.2), or undefined when the mesh does not know it. The same
 * lookups as `resolveOutbound`; where that would draw a waypoint, a gateway or a tunnel, the answer is `tunnel`.
 */
export function meaningOfAddress(
  view: MeshView,
  node: LocalitySource,
  ip: string,
  clientNamespace: string,
): AddressMeaning | undefined {
  const workload = view.workloadByAddress(node.network, ip);
  const service = bestServiceByVip(view, node.network, ip, clientNamespace);
  if (service !== undefined) {
    // With a workload there too, a waypoint is looked for at the workload and the endpoint at the service.
    return workload === undefined ? meaningOfService(view, service, [ip]) : tunnel;
  }
  if (workload === undefined) return undefined;
  if (workload.waypoint !== undefined) return tunnel;
  if (workload.protocol !== 'TCP') return isOnNode(workload, node) ? { kind: 'verdict', workload } : tunnel;
  return { kind: 'workload', workload };
}

/** What a CIDR VIP means to the namespaces that see it as theirs; undefined when none of its services counts there. */
export function meaningOfCidr(
  view: MeshView,
  node: LocalitySource,
  baseIp: string,
  prefixLength: number,
  clientNamespace: string,
  own: boolean,
): AddressMeaning | undefined {
  const holders = view
    .servicesByCidr(node.network, baseIp)
    .filter((entry) => entry.prefixLength === prefixLength)
    .filter(({ service }) => !own || service.namespace === clientNamespace);
  const exact = { servicesByCidr: () => holders };
  const service = bestServiceByCidr(exact, node.network, baseIp, clientNamespace);
  if (service === undefined) return undefined;
  // An endpoint inside the range that is dialled by its own address keeps that address (contract 7.5), which one
  // alias table for the whole range cannot say.
  for (const uid of view.endpoints(`${service.namespace}/${service.hostname}`).keys()) {
    for (const ip of view.workload(uid)?.addresses ?? []) {
      if (view.servicesByCidr(node.network, ip).some((entry) => entry.service === service)) return tunnel;
    }
  }
  return meaningOfService(view, service, []);
}

function meaningOfService(view: MeshView, service: Service, dialled: readonly string[]): AddressMeaning {
  if (serviceWaypoints(service).length > 0) return tunnel;
  if (service.loadBalancer?.mode === 'Passthrough') return { kind: 'outside', service };
  // An endpoint that owns the VIP itself is reached there and nowhere else (contract 7.5).
  for (const ip of dialled) {
    for (const uid of view.endpoints(`${service.namespace}/${service.hostname}`).keys()) {
      if (view.workload(uid)?.addresses.includes(ip)) return tunnel;
    }
  }
  return { kind: 'service', service };
}
