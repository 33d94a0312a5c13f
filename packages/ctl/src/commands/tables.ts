import type { TablesView } from '@kmesh/api';
import { type OutputFormat, renderObject } from '../output.ts';
import { type Column, renderTable } from '../table.ts';

type Usage = TablesView['usage'][number];
type Hook = TablesView['hooks'][number];
type Entry = NonNullable<TablesView['address']>['entries'][number];

const usageColumns: readonly Column<Usage>[] = [
  { heading: 'table', cell: (usage) => usage.table },
  { heading: 'used', cell: (usage) => usage.used },
  { heading: 'capacity', cell: (usage) => usage.capacity },
  { heading: 'full', cell: (usage) => `${((usage.used / usage.capacity) * 100).toFixed(1)} %` },
  {
    heading: 'refused',
    cell: (usage) =>
      Object.entries(usage.refused)
        .map(([reason, count]) => `${count} ${reason}`)
        .join(', ') || 'none',
  },
];

const hookColumns: readonly Column<Hook>[] = [
  { heading: 'program', cell: (hook) => hook.program },
  { heading: 'runs', cell: (hook) => hook.runs },
  {
    heading: 'ns per run',
    cell: (hook) => (hook.runs === 0 ? '' : Math.round(hook.nanoseconds / hook.runs)),
  },
];

const entryColumns: readonly Column<Entry>[] = [
  { heading: 'port', cell: (entry) => (entry.port === 0 ? 'any other' : entry.port) },
  { heading: 'seen by', cell: (entry) => entry.namespace || 'every namespace' },
  { heading: 'action', cell: (entry) => entry.action },
  { heading: 'of', cell: (entry) => entry.service || entry.workload },
];

/** Address of the admin view of the kernel tables. */
export function tablesPath(address: string | undefined): string {
  return address === undefined ? '/kmesh/tables' : `/kmesh/tables?${new URLSearchParams({ address })}`;
}

/** Text of `kmeshctl tables`: what is in the kernel, or what it holds for one address. */
export function tables(view: TablesView, format: OutputFormat): string {
  if (format === 'json' || format === 'yaml') return renderObject(format, view);
  if (view.off !== '') return `The kernel path is off: ${view.off}.\n`;
  if (view.address !== undefined) {
    const { ip, entries } = view.address;
    if (entries.length > 0) return renderTable(entryColumns, entries);
    return `The frontend table has no entry for ${ip}: connections to it are left alone, unless it is in the range of a service.\n`;
  }
  return (
    `${renderTable(usageColumns, view.usage)}\n` +
    (view.hooks.length > 0
      ? renderTable(hookColumns, view.hooks)
      : 'The kernel does not time its programs; sysctl kernel.bpf_stats_enabled=1 on the node lets it.\n')
  );
}
