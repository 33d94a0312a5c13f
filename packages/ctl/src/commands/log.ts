import { KmeshError } from '@kmesh/api';
import type { AdminClient } from '../admin-client.ts';
import { type OutputFormat, renderObject } from '../output.ts';

/** What `kmeshctl log` changes; nothing: the filter is only shown. */
interface LogOptions {
  /** A level, or `scope=level` clauses. */
  readonly level: string | undefined;
  readonly reset: boolean;
}

/** Shows or changes the daemon's log filter, and shows what it is then. */
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
