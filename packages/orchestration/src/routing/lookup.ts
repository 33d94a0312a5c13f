import type { GatewayDestination, Service, Workload } from '@kmesh/api';
import type { MeshView } from '../state/mesh-view.ts';

/** The object at an address or name. */
type MeshObject =
  | { readonly kind: 'service'; readonly service: Service }
  | { readonly kind: 'workload'; readonly workload: Workload };

/**
 * Returns whether a client namespace may see a service; without a namespace every service is visible
 * (docs/contract.md 7.1).
 */
function isVisible(service: Service, clientNamespace: string | undefined): boolean {
  return (
    clientNamespace === undefined || service.visibility === 'Public' || service.namespace === clientNamespace
  );
}

/**
 * Returns the visible service of the client's namespace, else the canonical one, else the first (docs/contract.md
 * 7.1).
 */
function bestService(services: readonly Service[], clientNamespace: string | undefined): Service | undefined {
  let canonical: Service | undefined;
  let first: Service | undefined;
  for (const service of services) {
    if (!isVisible(service, clientNamespace)) continue;
    if (service.namespace === clientNamespace) return service;
    if (service.canonical) canonical ??= service;
    first ??= service;
  }
  return canonical ?? first;
}

/**
 * Returns the service of a VIP for a client namespace: an exact VIP, else the CIDR VIP of the highest rank (client's
 * namespace, prefix length, canonical). CIDR VIPs also apply when exact entries exist but none is visible
 * (docs/contract.md 7.1).
 */
export function bestServiceByVip(
  view: Pick<MeshView, 'servicesByVip' | 'servicesByCidr'>,
  network: string,
  ip: string,
  clientNamespace: string | undefined,
): Service | undefined {
  return (
    bestService(view.servicesByVip(network, ip), clientNamespace) ??
    bestServiceByCidr(view, network, ip, clientNamespace)
  );
}

/** Returns the service of a CIDR VIP: the second part of {@link bestServiceByVip}. */
export function bestServiceByCidr(
  view: Pick<MeshView, 'servicesByCidr'>,
  network: string,
  ip: string,
  clientNamespace: string | undefined,
): Service | undefined {
  // The list is sorted longest prefix first: within the client's namespace and within the rest, the first length wins.
  let best: { readonly service: Service; readonly prefixLength: number; readonly own: boolean } | undefined;
  for (const { service, prefixLength } of view.servicesByCidr(network, ip)) {
    if (!isVisible(service, clientNamespace)) continue;
    const own = service.namespace === clientNamespace;
    const better =
      best === undefined ||
      (own !== best.own
        ? own
        : prefixLength === best.prefixLength && service.canonical && !best.service.canonical);
    if (better) best = { service, prefixLength, own };
  }
  return best?.service;
}

/** Returns the service of a hostname for a client namespace (docs/contract.md 7.1). */
export function bestServiceByHostname(
  view: Pick<MeshView, 'servicesByHostname'>,
  hostname: string,
  clientNamespace: string | undefined,
): Service | undefined {
  return bestService(view.servicesByHostname(hostname), clientNamespace);
}

/** Finds the object at an address: the workload, else the service (docs/contract.md 7.1, "by address"). */
export function findByAddress(
  view: Pick<MeshView, 'workloadByAddress' | 'servicesByVip' | 'servicesByCidr'>,
  network: string,
  ip: string,
  clientNamespace: string | undefined,
): MeshObject | undefined {
  const workload = view.workloadByAddress(network, ip);
  if (workload !== undefined) return { kind: 'workload', workload };
  const service = bestServiceByVip(view, network, ip, clientNamespace);
  return service === undefined ? undefined : { kind: 'service', service };
}

/** Finds the object of `namespace/hostname`: the service, else the workload (docs/contract.md 7.1, "by hostname"). */
export function findByHostname(
  view: Pick<MeshView, 'service' | 'workloadByHostname'>,
  namespace: string,
  hostname: string,
): MeshObject | undefined {
  const service = view.service(`${namespace}/${hostname}`);
  if (service !== undefined) return { kind: 'service', service };
  const workload = view.workloadByHostname(namespace, hostname);
  return workload === undefined ? undefined : { kind: 'workload', workload };
}

/**
 * Finds the object that a waypoint or gateway reference names, regardless of visibility (docs/contract.md 6.6, 7.2).
 */
export function findDestination(view: MeshView, destination: GatewayDestination): MeshObject | undefined {
  return destination.kind === 'address'
    ? findByAddress(view, destination.network, destination.ip, undefined)
    : findByHostname(view, destination.namespace, destination.hostname);
}

/**
 * Returns the name by which the control plane knows the service of a host name. Only that of a Kubernetes service tells
 * its namespace; for any other one `namespace` is assumed.
 */
export function nameOfHost(hostname: string, namespace: string): string {
  const [, own, kind] = hostname.split('.');
  return `${kind === 'svc' ? own : namespace}/${hostname}`;
}

/** Formats a reference as configuration spells it: `network/ip` or `namespace/hostname`. */
export function formatDestination(destination: GatewayDestination): string {
  return destination.kind === 'address'
    ? `${destination.network}/${destination.ip}`
    : `${destination.namespace}/${destination.hostname}`;
}
