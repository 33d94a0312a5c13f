import { cpSync, existsSync, mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Api } from '../api/api.ts';
import { isKind, readState } from '../bare/state.ts';
import { exportKindLogs } from '../kind/cluster.ts';
import { cache } from '../paths.ts';

/**
 * Collects logs of a cluster's machines and containers, and events, in a new folder, which outlives the cluster.
 * Returns the folder.
 */
export async function collectLogs(api: Api, name = 'logs'): Promise<string> {
  const folder = join(cache, 'reports', `${new Date().toISOString().replace(/[:.]/g, '-')}-${name}`);
  mkdirSync(folder, { recursive: true });
  if (isKind()) await exportKindLogs(join(folder, 'machines'));
  for (const machine of readState()?.machines ?? [])
    if (existsSync(machine.logs))
      cpSync(machine.logs, join(folder, 'machines', machine.name), { recursive: true });
  for (const namespace of await api.namespaces()) {
    const place = join(folder, 'namespaces', namespace);
    mkdirSync(place, { recursive: true });
    writeFileSync(join(place, 'events.txt'), `${(await api.events(namespace)).join('\n')}\n`);
    for (const pod of await api.pods(namespace)) {
      const file = join(place, pod.metadata?.name ?? '');
      writeFileSync(
        `${file}.json`,
        JSON.stringify({ ...pod, metadata: { ...pod.metadata, managedFields: undefined } }, undefined, 2),
      );
      for (const { name: container } of pod.spec?.containers ?? [])
        for (const previous of [false, true])
          try {
            const log = await api.log(pod, { previous, container });
            writeFileSync(`${file}.${container}${previous ? '.previous' : ''}.log`, log);
          } catch {
            // A container that has not run yet, or never before, has no log.
          }
    }
  }
  return folder;
}
