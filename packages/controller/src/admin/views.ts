import type {
  ConnectionsView,
  HookCost,
  OverviewConnection,
  TableEntry,
  TablesPod,
  TablesView,
  Workload,
} from '@kmesh/api';
import { canonicalIp } from '@kmesh/orchestration';
import type { ConnectionStart, LiveConnection, LiveConnections } from '@kmesh/probe';
import type { FrontendEntry, KernelTables } from '@kmesh/runtime';
import { badQuery } from './guard.ts';

/** Selects connections. */
interface ConnectionsFilter {
  readonly limit: number;
  /** Part of the `namespace/name` of either side or of the service. */
  readonly text?: string | undefined;
  /** Namespace of either side. */
  readonly namespace?: string | undefined;
  readonly path?: string | undefined;
}

/**
 * Returns the busiest open connections of a node. A connection between two of its pods is reported by both sides and
 * shown once, from the client's side.
 */
export function viewConnections(
  live: LiveConnections,
  node: string,
  filter: ConnectionsFilter,
): ConnectionsView {
  const text = filter.text?.toLowerCase() ?? '';
  const { total, busiest } = live.look(
    filter.limit,
    (start) =>
      !isSecondSide(live, node, start) &&
      (filter.path === undefined || start.path === filter.path) &&
      (filter.namespace === undefined ||
        start.source?.namespace === filter.namespace ||
        start.destination?.namespace === filter.namespace) &&
      (text === '' || namesOf(start).some((name) => name.toLowerCase().includes(text))),
  );
  return { total, connections: busiest.map(overviewConnection) };
}

function isSecondSide(live: LiveConnections, node: string, { reporter, source }: ConnectionStart): boolean {
  if (reporter === 'source' || source === undefined) return false;
  return (node === '' || source.node === node) && live.countOf(source.uid) > 0;
}

function overviewConnection({ start, ...live }: LiveConnection): OverviewConnection {
  const [source, destination, service] = namesOf(start);
  return {
    source: source ?? '',
    destination: destination ?? '',
    sourceAddress: start.sourceAddress,
    destinationAddress: start.hboneAddress ?? start.destinationAddress,
    service: service ?? '',
    reporter: start.reporter,
    path: start.path,
    reason: start.pathReason ?? '',
    encrypted: start.securityPolicy === 'mutual_tls',
    seconds: live.seconds,
    sentBytes: live.bytesFromClient,
    receivedBytes: live.bytesFromServer,
    sentBytesPerSecond: live.bytesPerSecondFromClient,
    receivedBytesPerSecond: live.bytesPerSecondFromServer,
  };
}

function namesOf(start: ConnectionStart): [source: string, destination: string, service: string] {
  const { destinationService: service } = start;
  return [
    nameOf(start.source, start.sourceAddress),
    nameOf(start.destination, start.hboneAddress ?? start.destinationAddress),
    service === undefined ? '' : `${service.namespace}/${service.name}`,
  ];
}

function nameOf(workload: Workload | undefined, address: string): string {
  return workload === undefined ? address : `${workload.namespace}/${workload.name}`;
}

/** Kernel tables; present while the kernel path is on. */
interface TableSources {
  readonly tables: KernelTables;
  hookCosts(): readonly HookCost[];
}

/** Describes the kernel tables: how full each is, what was refused, the pods, and the entries of one address. */
export function describeTables(
  sources: TableSources | undefined,
  off: string,
  pods: readonly TablesPod[],
  address: string | null,
): TablesView {
  const ip = address === null ? undefined : canonicalIp(address);
  if (address !== null && ip === undefined) throw badQuery(`"${address}" is not an IP address`);
  if (sources === undefined) return { off, usage: [], hooks: [], behind: false, pods };
  const { tables } = sources;
  const { behind } = tables;
  const view = { off: '', usage: tables.usage(), hooks: sources.hookCosts(), behind, pods };
  if (ip === undefined) return view;
  return {
    ...view,
    address: { ip, entries: tables.frontendsOf(ip).map((entry) => describeEntry(tables, entry)) },
  };
}

function describeEntry(tables: KernelTables, entry: FrontendEntry): TableEntry {
  const { namespaceId, port, action, service, target } = entry;
  return {
    namespace: namespaceId === 0 ? '' : (tables.namespaceName(namespaceId) ?? `#${namespaceId}`),
    port,
    action,
    service: service === 0 ? '' : (tables.serviceKey(service) ?? `#${service}`),
    workload: action === 'workload' ? (tables.workloadUid(target) ?? `#${target}`) : '',
  };
}
