import type { ConnectionsView, OverviewConnection } from '@kmesh/api';
import { type OutputFormat, renderObject } from '../output.ts';
import { type Column, renderTable } from '../table.ts';
import { byteRate, byteText, durationText } from '../units.ts';

/** Which connections `kmeshctl connections` asks for. */
export interface ConnectionsOptions {
  /** Part of a name: of either workload, of the service. */
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

/** Address of the admin view that has these connections. */
export function connectionsPath(options: ConnectionsOptions): string {
  const query = new URLSearchParams({ limit: String(options.limit) });
  for (const name of ['text', 'namespace', 'path'] as const) {
    const value = options[name];
    if (value !== undefined && value !== '') query.set(name, value);
  }
  return `/kmesh/connections?${query}`;
}

/** Text of `kmeshctl connections`, busiest first. */
export function connections(view: ConnectionsView, format: OutputFormat): string {
  if (format === 'json' || format === 'yaml') return renderObject(format, view);
  const { total, connections: shown } = view;
  const rest = total - shown.length;
  return (
    renderTable(columns, shown, format === 'wide') +
    (total === 0 ? 'No open connection matches.\n' : '') +
    (rest > 0 ? `${rest} more; --limit shows more of them, and a word or -n narrows the list.\n` : '')
  );
}
