import { countConnectionPath, type MetricRecorder } from '@kmesh/probe';
import type { PathCount } from '../programs/path-counts.ts';

/**
 * Carries the connections that ended in the connect hook, which no path reports, over to `kmesh_connections_path_total`;
 * call before each scrape. What else the hook decides is counted there by the path that then carries the connection.
 */
export function refusedFollower(recorder: MetricRecorder, read: () => readonly PathCount[]): () => void {
  const seen = new Map<string, number>();
  return () => {
    for (const { path, reason, connections } of read()) {
      if (path !== 'refused') continue;
      const more = connections - (seen.get(reason) ?? 0);
      if (more > 0) countConnectionPath(recorder, 'refused', reason, more);
      seen.set(reason, connections);
    }
  };
}
