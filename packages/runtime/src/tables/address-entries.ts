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

/** Returns the client namespaces for which the routes of a service differ from the general ones. */
export function scopedNamespaces(view: MeshView, service: Service): readonly string[] {
  if (view.routesOf(service.hostname).length === 0) return none;
  const generic = routeSignature(view, service, GENERIC_NAMESPACE);
  return [...routeNamespaces(view, service)].filter(
    (namespace) => routeSignature(view, service, namespace) !== generic,
  );
}

/** Meaning of an address for connections of one client namespace, as far as the kernel path can express it. */
export type AddressMeaning =
  /** The tables cannot express it exactly: the tunnel path decides. */
  | { readonly kind: 'tunnel' }
  /** Outside the mesh, or a PASSTHROUGH service: the dialled address is kept. */
  | { readonly kind: 'outside'; readonly service?: Service }
  /** A plain TCP workload: the dialled address is kept. */
  | { readonly kind: 'workload'; readonly workload: Workload }
  /** An HBONE workload of this node: the dialled address is kept where the verdict is allow. */
  | { readonly kind: 'verdict'; readonly workload: Workload }
  /**
   * A service: declared ports are balanced, others refused. `scope` is the client namespace if routes differ for it,
   * else {@link GENERIC_NAMESPACE}.
   */
  | { readonly kind: 'service'; readonly service: Service; readonly scope: string };

const tunnel: AddressMeaning = { kind: 'tunnel' };

/**
 * Returns the meaning of `ip` for a client namespace (contract 7.1, 7.2), or undefined when the mesh does not know it.
 * Uses the lookups of `resolveOutbound`; a waypoint, a gateway or a tunnel results in `tunnel`.
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
    // With a workload at the address, the waypoint is that of the workload and the endpoint that of the service.
    return workload === undefined ? meaningOfService(view, service, [ip], clientNamespace) : tunnel;
  }
  if (workload === undefined) return undefined;
  if (workload.waypoint !== undefined) return tunnel;
  if (workload.protocol !== 'TCP') return isOnNode(workload, node) ? { kind: 'verdict', workload } : tunnel;
  return { kind: 'workload', workload };
}

/** Returns the meaning of a CIDR VIP for the namespaces that see it; undefined if none of its services counts there. */
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
  // An endpoint in the range that is dialled by its own address keeps that address (contract 7.5), which one
  // alias table for the whole range cannot express.
  for (const uid of view.endpoints(`${service.namespace}/${service.hostname}`).keys()) {
    for (const ip of view.workload(uid)?.addresses ?? []) {
      if (view.servicesByCidr(node.network, ip).some((entry) => entry.service === service)) return tunnel;
    }
  }
  // One table for the range cannot express routes that differ between namespaces.
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
  // An endpoint that owns the VIP itself is reached only there (contract 7.5).
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

/** Provides the ids that frontends refer to. */
export interface FrontendIds {
  /** Returns the id of a service port as seen by clients of a namespace; undefined if the port has none. */
  portId(service: Service, port: number, clientNamespace: string): number | undefined;
  serviceId(service: Service): number;
  workloadId(uid: string): number;
  namespaceId(namespace: string): number;
}

type Outcome = Pick<FrontendEntry, 'action' | 'target' | 'service'>;

/** The most frequent entries of a large mesh by far, shared by all addresses. */
const tunnelEntries: readonly FrontendEntry[] = [
  { action: 'tunnel', target: 0, service: 0, namespaceId: 0, port: 0, scoped: false },
];

/**
 * Returns every frontend of an address: one view for all namespaces, and one for each namespace with a different view.
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

  // With several views each declares the ports of all: a port that one lacks must not match in another.
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

/** Copies field by field: spread objects store their fields out of line, which doubles their memory. */
function entryOf(
  { action, target, service }: Outcome,
  namespaceId: number,
  port: number,
  scoped: boolean,
): FrontendEntry {
  return { action, target, service, namespaceId, port, scoped };
}

/** Returns the outcome of a connection to one port; port 0 stands for every port without an entry. */
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

/** Returns the ports with a separate entry. */
function portsOf(meaning: AddressMeaning): Iterable<number> {
  return meaning.kind === 'service' ? meaning.service.ports.keys() : [];
}

const noNamespaces: ReadonlySet<string> = new Set();

/** Returns the namespaces whose view of the address may differ: those with a service there, or a route for one. */
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
