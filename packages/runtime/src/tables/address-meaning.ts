import type { Service, Workload } from '@kmesh/api';
import type { LocalitySource, MeshView } from '@kmesh/orchestration';
import {
  bestServiceByCidr,
  bestServiceByVip,
  GENERIC_NAMESPACE,
  serviceWaypoints,
} from '@kmesh/orchestration';
import { scopedNamespaces } from './route-scope.ts';
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
  /**
   * A service: declared ports are balanced, others refused. `scope` is the client namespace where routes say something else to
   * it than to all others, else {@link GENERIC_NAMESPACE}.
   */
  | { readonly kind: 'service'; readonly service: Service; readonly scope: string };

const tunnel: AddressMeaning = { kind: 'tunnel' };

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
    return workload === undefined ? meaningOfService(view, service, [ip], clientNamespace) : tunnel;
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
  // What routes say to one namespace and not to another, one table for the range does not.
  if (view.routesOf(service.hostname).length > 0) return tunnel;
  return meaningOfService(view, service, [], GENERIC_NAMESPACE);
}

function meaningOfService(
  view: MeshView,
  service: Service,
  dialled: readonly string[],
  clientNamespace: string,
): AddressMeaning {
  if (serviceWaypoints(service).length > 0) return tunnel;
  if (service.loadBalancer?.mode === 'Passthrough') return { kind: 'outside', service };
  // An endpoint that owns the VIP itself is reached there and nowhere else (contract 7.5).
  for (const ip of dialled) {
    for (const uid of view.endpoints(`${service.namespace}/${service.hostname}`).keys()) {
      if (view.workload(uid)?.addresses.includes(ip)) return tunnel;
    }
  }
  const scope =
    clientNamespace === GENERIC_NAMESPACE || !scopedNamespaces(view, service).includes(clientNamespace)
      ? GENERIC_NAMESPACE
      : clientNamespace;
  return { kind: 'service', service, scope };
}
