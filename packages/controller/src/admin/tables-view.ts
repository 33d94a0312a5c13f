import type { HookCost, TableEntry, TablesPod, TablesView } from '@kmesh/api';
import { canonicalIp } from '@kmesh/orchestration';
import type { FrontendEntry, KernelTables } from '@kmesh/runtime';
import { badQuery } from './query.ts';

/** Tables while the kernel path is on. */
interface TableSources {
  readonly tables: KernelTables;
  hookCosts(): readonly HookCost[];
}

/** What is in the kernel: how full each table is, what was refused, the pods, and the entries of one address. */
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
