import {
  type ConnectionsView,
  KmeshError,
  type OverviewConnection,
  type TablesView,
  type Why,
} from '@kmesh/api';
import type { AdminClient } from './admin-client.ts';
import {
  byteRate,
  byteText,
  type Column,
  durationText,
  type OutputFormat,
  renderObject,
  renderTable,
} from './output.ts';

/** Filter of `kmeshctl connections`. */
export interface ConnectionsOptions {
  /** Substring of the name of either workload or the service. */
  readonly text: string | undefined;
  readonly namespace: string | undefined;
  readonly path: string | undefined;
  readonly limit: number;
}

const columns: readonly Column<OverviewConnection>[] = [
  { heading: 'source', cell: (connection) => connection.source },
  { heading: 'destination', cell: (connection) => connection.destination },
  { heading: 'service', cell: (connection) => connection.service },
  { heading: 'path', cell: (connection) => connection.path },
  { heading: 'tls', cell: (connection) => (connection.encrypted ? 'mutual' : 'no') },
  { heading: 'age', cell: (connection) => durationText(connection.seconds) },
  { heading: 'sent', cell: (connection) => byteText(connection.sentBytes) },
  { heading: 'received', cell: (connection) => byteText(connection.receivedBytes) },
  { heading: 'sending', cell: (connection) => byteRate(connection.sentBytesPerSecond) },
  { heading: 'receiving', cell: (connection) => byteRate(connection.receivedBytesPerSecond) },
  { heading: 'source address', cell: (connection) => connection.sourceAddress, wide: true },
  { heading: 'destination address', cell: (connection) => connection.destinationAddress, wide: true },
  { heading: 'side', cell: (connection) => connection.reporter, wide: true },
  { heading: 'reason', cell: (connection) => connection.reason, wide: true },
];

/** Returns the admin path of these connections. */
export function connectionsPath(options: ConnectionsOptions): string {
  const query = new URLSearchParams({ limit: String(options.limit) });
  for (const name of ['text', 'namespace', 'path'] as const) {
    const value = options[name];
    if (value !== undefined && value !== '') query.set(name, value);
  }
  return `/kmesh/connections?${query}`;
}

/** Renders `kmeshctl connections`, busiest first. */
export function connections(view: ConnectionsView, format: OutputFormat): string {
  if (format === 'json' || format === 'yaml') return renderObject(format, view);
  const { total, connections: shown } = view;
  const rest = total - shown.length;
  return (
    renderTable(columns, shown, format === 'wide') +
    (total === 0 ? 'No open connection matches.\n' : '') +
    (rest > 0 ? `${rest} more; raise --limit, or narrow the list by a name or -n.\n` : '')
  );
}

type Usage = TablesView['usage'][number];
type Hook = TablesView['hooks'][number];
type Pod = TablesView['pods'][number];
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

const podColumns: readonly Column<Pod>[] = [
  { heading: 'pod', cell: ({ namespace, name }) => `${namespace}/${name}` },
  { heading: 'state', cell: ({ state }) => state },
  { heading: 'capture rules', cell: ({ bare }) => (bare ? 'not found' : 'found') },
];

const entryColumns: readonly Column<Entry>[] = [
  { heading: 'port', cell: (entry) => (entry.port === 0 ? 'any other' : entry.port) },
  { heading: 'seen by', cell: (entry) => entry.namespace || 'every namespace' },
  { heading: 'action', cell: (entry) => entry.action },
  { heading: 'of', cell: (entry) => entry.service || entry.workload },
];

/** Returns the admin path of the kernel tables. */
export function tablesPath(address: string | undefined): string {
  return address === undefined ? '/kmesh/tables' : `/kmesh/tables?${new URLSearchParams({ address })}`;
}

/** Renders `kmeshctl tables`: usage of the kernel tables, or the entries of one address. */
export function tables(view: TablesView, format: OutputFormat): string {
  if (format === 'json' || format === 'yaml') return renderObject(format, view);
  if (view.off !== '') return `The kernel path is off: ${view.off}.\n`;
  if (view.address !== undefined) {
    const { ip, entries } = view.address;
    if (entries.length > 0) return renderTable(entryColumns, entries);
    return `The frontend table has no entry for ${ip}: connections to it pass unchanged unless it is in the range of a service.\n`;
  }
  return (
    `${renderTable(usageColumns, view.usage)}\n` +
    (view.behind ? 'Changes of the mesh are being written to the tables.\n\n' : '') +
    (view.pods.length > 0 ? `${renderTable(podColumns, view.pods)}\n` : '') +
    (view.hooks.length > 0
      ? renderTable(hookColumns, view.hooks)
      : 'Run times are not measured; enable them on the node with sysctl kernel.bpf_stats_enabled=1.\n')
  );
}

/** Returns the admin path that explains a connection. */
export function whyPath(source: string, destination: string): string {
  return `/kmesh/why?${new URLSearchParams({ source, destination })}`;
}

/** Renders `kmeshctl why`: the verdict, then each step of the decision. */
export function why(answer: Why, format: OutputFormat): string {
  if (format === 'json' || format === 'yaml') return renderObject(format, answer);
  const { source, destination, verdict, path, steps } = answer;
  const width = Math.max(...steps.map(({ step }) => step.length));
  return [
    `${source} → ${destination}: ${verdict}${path === 'none' ? '' : `, path ${path}`}`,
    ...steps.map(({ step, text }, index) => {
      const label = steps[index - 1]?.step === step ? '' : step;
      return `  ${label.padEnd(width)}  ${text}`;
    }),
    '',
  ].join('\n');
}

/** Changes of `kmeshctl log`; without any, the filter is only shown. */
interface LogOptions {
  /** A level, or `scope=level` clauses. */
  readonly level: string | undefined;
  readonly reset: boolean;
}

/** Changes the daemon's log filter if asked to, and renders the filter in effect. */
export async function log(client: AdminClient, options: LogOptions, format: OutputFormat): Promise<string> {
  const query = new URLSearchParams();
  if (options.reset) query.set('reset', '');
  if (options.level !== undefined) query.set('level', options.level);
  const answer = await client.post(query.size === 0 ? '/logging' : `/logging?${query}`);
  const level = /^current log level is (.+)$/m.exec(answer)?.[1];
  if (level === undefined)
    throw new KmeshError('KMESH_ADMIN_ANSWER', `no log level in the answer: ${answer}`);
  return format === 'json' || format === 'yaml' ? renderObject(format, { level }) : `${level}\n`;
}
