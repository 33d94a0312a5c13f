import { type MeshState, serviceKey } from '@kmesh/orchestration';
import type { Config } from '../config/config.ts';
import { configDump } from '../config/dump.ts';
import type { VersionInfo } from '../version.ts';
import { dumpEndpoints, dumpPolicy, dumpService, dumpWorkload } from './dump-model.ts';

/** Where the parts of the dump come from; each is asked anew for every dump. */
export interface ConfigDumpSources {
  readonly state: MeshState;
  readonly config: Config;
  readonly version: VersionInfo;
  /** Certificate objects, sorted by identity (ambient contract 13.6). */
  readonly certificates: () => readonly unknown[];
  /** Pod uid → state (ambient contract 13.7); `undefined` in dedicated mode. */
  readonly workloadState: () => Readonly<Record<string, unknown>> | undefined;
  /** The local mesh file, read again: what it says now, in the spelling of ambient contract section 4. */
  readonly staticConfig: () => {
    readonly workloads: unknown;
    readonly policies: unknown;
    readonly services: unknown;
  };
}

/** `/config_dump` (ambient contract 13.2). Lists are always there and sorted, so that tools can rely on them. */
export function buildConfigDump(sources: ConfigDumpSources): Record<string, unknown> {
  const { state } = sources;
  const workloadState = sources.workloadState();
  return {
    workloads: sortedBy([...state.workloads()], (workload) => workload.uid).map(dumpWorkload),
    services: sortedBy([...state.services()], (service) => service.hostname).map((service) =>
      dumpService(service, state.endpoints(serviceKey(service)).values()),
    ),
    policies: sortedBy([...state.policies()], (policy) => `${policy.namespace}/${policy.name}`).map(
      dumpPolicy,
    ),
    stagedServices: Object.fromEntries(
      [...state.stagedEndpoints()].map(([key, endpoints]) => [key, dumpEndpoints(endpoints.values())]),
    ),
    staticConfig: sources.staticConfig(),
    version: sources.version,
    config: configDump(sources.config),
    certificates: sources.certificates(),
    ...(workloadState === undefined ? {} : { workloadState }),
  };
}

function sortedBy<Item>(items: Item[], key: (item: Item) => string): Item[] {
  return items.sort((a, b) => {
    const [left, right] = [key(a), key(b)];
    return left < right ? -1 : left > right ? 1 : 0;
  });
}
