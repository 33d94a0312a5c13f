import { canonicalIp, type FrontendEntry, type KernelTables, type TableUsage } from '@kmesh/orchestration';
import type { HookCost } from '@kmesh/probe';
import { badQuery } from './query.ts';

/** What `/kmesh/tables` answers. */
export interface TablesView {
  /** Why there are none; empty while the kernel path is on. */
  readonly off: string;
  readonly usage: readonly TableUsage[];
  readonly hooks: readonly HookCost[];
  /** Entries of the address that was asked for. */
  readonly address?: { readonly ip: string; readonly entries: readonly TableEntry[] };
}

/** One entry of the frontend table, with names in place of ids. */
interface TableEntry {
  /** The client namespace that sees it; empty: every one. */
  readonly namespace: string;
  /** 0: every port without an entry of its own. */
  readonly port: number;
  readonly action: FrontendEntry['action'];
  /** `namespace/hostname` of the service; empty when there is none. */
  readonly service: string;
  /** Uid of the workload at the address; empty unless the action is `workload`. */
  readonly workload: string;
}

/** Tables while the kernel path is on. */
interface TableSources {
  readonly tables: KernelTables;
  hookCosts(): readonly HookCost[];
}

/** What is in the kernel: how full each table is, what was refused, and the entries of one address. */
export function describeTables(
  sources: TableSources | undefined,
  off: string,
  address: string | null,
): TablesView {
  const ip = address === null ? undefined : canonicalIp(address);
  if (address !== null && ip === undefined) throw badQuery(`"${address}" is not an IP address`);
  if (sources === undefined) return { off, usage: [], hooks: [] };
  const { tables } = sources;
  const view = { off: '', usage: tables.usage(), hooks: sources.hookCosts() };
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
