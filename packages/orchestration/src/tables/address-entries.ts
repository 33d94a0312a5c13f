import type { Service } from '@kmesh/api';
import type { LocalitySource } from '../routing/locality.ts';
import type { MeshView } from '../state/mesh-view.ts';
import { type AddressMeaning, GENERIC_NAMESPACE, meaningOfAddress } from './address-meaning.ts';
import type { FrontendEntry } from './frontend-entry.ts';

/** Ids that frontends refer to. */
export interface FrontendIds {
  /** Index in service_ports; undefined when the port has none. */
  portIndex(service: Service, port: number): number | undefined;
  serviceId(service: Service): number;
  workloadId(uid: string): number;
  namespaceId(namespace: string): number;
}

type Outcome = Pick<FrontendEntry, 'action' | 'target' | 'service'>;

/**
 * Every frontend of an address: one view for all namespaces, and one for each namespace that sees something else.
 * Empty when the mesh does not know the address.
 */
export function compileAddress(
  view: MeshView,
  node: LocalitySource,
  ip: string,
  ids: FrontendIds,
): FrontendEntry[] {
  const generic = meaningOfAddress(view, node, ip, GENERIC_NAMESPACE);
  const scoped = new Map<string, AddressMeaning>();
  for (const namespace of namespacesAt(view, node, ip)) {
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
      entries.push({ ...outcomeOf(meaning, port, ids), namespaceId, port, scoped: false });
    }
  }
  for (const port of [0, ...ports]) {
    entries.push({ ...outcomeOf(everybody, port, ids), namespaceId: 0, port, scoped: isScoped });
  }
  return entries;
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
    case 'service': {
      const service = ids.serviceId(meaning.service);
      if (!meaning.service.ports.has(port)) return { action: 'refuse', target: 0, service };
      const target = ids.portIndex(meaning.service, port);
      return target === undefined
        ? { action: 'tunnel', target: 0, service }
        : { action: 'balance', target, service };
    }
  }
}

/** Ports that have an entry of their own. */
export function portsOf(meaning: AddressMeaning): Iterable<number> {
  return meaning.kind === 'service' ? meaning.service.ports.keys() : [];
}

/** Namespaces whose view of the address may differ from the others': those with a service there. */
function namespacesAt(view: MeshView, node: LocalitySource, ip: string): Set<string> {
  const namespaces = new Set<string>();
  for (const service of view.servicesByVip(node.network, ip)) namespaces.add(service.namespace);
  for (const { service } of view.servicesByCidr(node.network, ip)) namespaces.add(service.namespace);
  return namespaces;
}

function sameMeaning(left: AddressMeaning, right: AddressMeaning | undefined): boolean {
  if (right === undefined || left.kind !== right.kind) return false;
  if (left.kind === 'workload') return right.kind === 'workload' && left.workload === right.workload;
  if (left.kind === 'tunnel') return true;
  return (right.kind === 'service' || right.kind === 'outside') && left.service === right.service;
}
