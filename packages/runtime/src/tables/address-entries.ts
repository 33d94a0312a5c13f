import type { Service, Workload } from '@kmesh/api';
import {
  bestServiceByCidr,
  bestServiceByVip,
  GENERIC_NAMESPACE,
  type LocalitySource,
  type MeshView,
  routeNamespaces,
  routeSignature,
  serviceWaypoints,
} from '@kmesh/orchestration';
import type { FrontendEntry } from './frontend-slots.ts';
import { isOnNode } from './service-slots.ts';

const none: readonly never[] = [];

/** Namespaces for which the routes of a service say something else than for all others. */
export function scopedNamespaces(view: MeshView, service: Service): readonly string[] {
  if (view.routesOf(service.hostname).length === 0) return none;
  const generic = routeSignature(view, service, GENERIC_NAMESPACE);
  return [...routeNamespaces(view, service)].filter(
    (namespace) => routeSignature(view, service, namespace) !== generic,
  );
}

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
function meaningOfAddress(
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

/** Ids that frontends refer to. */
export interface FrontendIds {
  /** Id of a service port as the clients of a namespace dial it; undefined when the port has none. */
  portId(service: Service, port: number, clientNamespace: string): number | undefined;
  serviceId(service: Service): number;
  workloadId(uid: string): number;
  namespaceId(namespace: string): number;
}

type Outcome = Pick<FrontendEntry, 'action' | 'target' | 'service'>;

/** By far the most frequent entries of a large mesh: one copy serves all addresses. */
const tunnelEntries: readonly FrontendEntry[] = [
  { action: 'tunnel', target: 0, service: 0, namespaceId: 0, port: 0, scoped: false },
];

/**
 * Every frontend of an address: one view for all namespaces, and one for each namespace that sees something else.
 * Empty when the mesh does not know the address.
 */
export function compileAddress(
  view: MeshView,
  node: LocalitySource,
  ip: string,
  ids: FrontendIds,
): readonly FrontendEntry[] {
  const generic = meaningOfAddress(view, node, ip, GENERIC_NAMESPACE);
  const namespaces = namespacesAt(view, node, ip);
  if (generic?.kind === 'tunnel' && namespaces.size === 0) return tunnelEntries;
  const scoped = new Map<string, AddressMeaning>();
  for (const namespace of namespaces) {
    const meaning = meaningOfAddress(view, node, ip, namespace);
    if (meaning !== undefined && !sameMeaning(meaning, generic)) scoped.set(namespace, meaning);
  }
  if (generic === undefined && scoped.size === 0) return [];

  const entries: FrontendEntry[] = [];
  const isScoped = scoped.size > 0;
  const everybody = generic ?? { kind: 'outside' };
  const ports = new Set(portsOf(everybody));
  for (const meaning of scoped.values()) for (const port of portsOf(meaning)) ports.add(port);

  // With several views each declares the ports of all: a port that one lacks must not be found in another.
  for (const [namespace, meaning] of scoped) {
    const namespaceId = ids.namespaceId(namespace);
    for (const port of [0, ...ports]) {
      entries.push(entryOf(outcomeOf(meaning, port, ids), namespaceId, port, false));
    }
  }
  for (const port of [0, ...ports]) {
    entries.push(entryOf(outcomeOf(everybody, port, ids), 0, port, isScoped));
  }
  return entries;
}

/** Field by field: objects made by spreading keep their fields outside of themselves, which costs twice the memory. */
function entryOf(
  { action, target, service }: Outcome,
  namespaceId: number,
  port: number,
  scoped: boolean,
): FrontendEntry {
  return { action, target, service, namespaceId, port, scoped };
}

/** What happens to a connection to one port; port 0 stands for every port without an entry. */
export function outcomeOf(meaning: AddressMeaning, port: number, ids: FrontendIds): Outcome {
  switch (meaning.kind) {
    case 'tunnel':
      return { action: 'tunnel', target: 0, service: 0 };
    case 'outside':
      return {
        action: 'outside',
        target: 0,
        service: meaning.service === undefined ? 0 : ids.serviceId(meaning.service),
      };
    case 'workload':
      return { action: 'workload', target: ids.workloadId(meaning.workload.uid), service: 0 };
    case 'verdict':
      return { action: 'verdict', target: ids.workloadId(meaning.workload.uid), service: 0 };
    case 'service': {
      const service = ids.serviceId(meaning.service);
      if (!meaning.service.ports.has(port)) return { action: 'refuse', target: 0, service };
      const target = ids.portId(meaning.service, port, meaning.scope);
      return target === undefined
        ? { action: 'tunnel', target: 0, service }
        : { action: 'balance', target, service };
    }
  }
}

/** Ports that have an entry of their own. */
function portsOf(meaning: AddressMeaning): Iterable<number> {
  return meaning.kind === 'service' ? meaning.service.ports.keys() : [];
}

const noNamespaces: ReadonlySet<string> = new Set();

/** Namespaces whose view of the address may differ from that of the rest: those with a service there, or a route for one. */
function namespacesAt(view: MeshView, node: LocalitySource, ip: string): ReadonlySet<string> {
  const byVip = view.servicesByVip(node.network, ip);
  const byCidr = view.servicesByCidr(node.network, ip);
  if (byVip.length + byCidr.length === 0) return noNamespaces;
  const namespaces = new Set<string>();
  for (const service of [...byVip, ...byCidr.map((entry) => entry.service)]) {
    namespaces.add(service.namespace);
    for (const namespace of scopedNamespaces(view, service)) namespaces.add(namespace);
  }
  return namespaces;
}

function sameMeaning(left: AddressMeaning, right: AddressMeaning | undefined): boolean {
  if (right === undefined || left.kind !== right.kind) return false;
  if (left.kind === 'workload' || left.kind === 'verdict')
    return right.kind === left.kind && left.workload === right.workload;
  if (left.kind === 'tunnel') return true;
  if (left.kind === 'service' && right.kind === 'service' && left.scope !== right.scope) return false;
  return (right.kind === 'service' || right.kind === 'outside') && left.service === right.service;
}
