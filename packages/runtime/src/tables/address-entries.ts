import type { Service } from '@kmesh/api';
import type { LocalitySource, MeshView } from '@kmesh/orchestration';
import { GENERIC_NAMESPACE } from '@kmesh/orchestration';
import { type AddressMeaning, meaningOfAddress } from './address-meaning.ts';
import type { FrontendEntry } from './frontend-entry.ts';
import { scopedNamespaces } from './route-scope.ts';

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

/** Namespaces whose view of the address may differ from the others': those with a service there, or a route for one. */
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
