import { KmeshError } from '@kmesh/api';
import type { AdminClient } from './admin-client.ts';

/** What kmeshctl reads of the config dump (ambient contract 13). */
export interface ConfigDump {
  readonly workloads: readonly DumpedWorkload[];
  readonly services: readonly DumpedService[];
  readonly policies: readonly DumpedPolicy[];
  readonly certificates: readonly DumpedCertificate[];
}

export interface DumpedWorkload {
  readonly uid?: string;
  readonly name: string;
  readonly namespace: string;
  readonly workloadIps: readonly string[];
  readonly node?: string;
  readonly protocol: string;
  readonly status: string;
  readonly serviceAccount?: string;
  readonly network?: string;
  readonly clusterId: string;
  readonly capacity: number;
  readonly waypoint?: { readonly destination: string };
  readonly services?: readonly string[];
}

export interface DumpedService {
  readonly name: string;
  readonly namespace: string;
  readonly hostname: string;
  readonly vips: readonly string[];
  readonly cidrVips?: readonly { readonly network: string; readonly cidr: string }[];
  readonly ports: Readonly<Record<string, number>>;
  readonly endpoints: Readonly<Record<string, { readonly workloadUid: string; readonly status: string }>>;
  readonly waypoint?: { readonly destination: string };
  readonly loadBalancer?: { readonly mode: string; readonly routingPreferences: readonly string[] };
  readonly visibility: string;
}

export interface DumpedPolicy {
  readonly name: string;
  readonly namespace: string;
  readonly scope: string;
  readonly action: string;
  readonly rules: readonly unknown[];
  readonly dryRun: boolean;
}

export interface DumpedCertificate {
  readonly identity: string;
  readonly state: string;
  readonly certChain: readonly {
    readonly serialNumber: string;
    readonly validFrom: string;
    readonly expirationTime: string;
  }[];
  readonly rootCerts: readonly unknown[];
}

/** Reads the config dump of the daemon. Throws KMESH_ADMIN_ANSWER when it is not one. */
export async function readConfigDump(client: AdminClient): Promise<ConfigDump> {
  const dump = await client.json('/config_dump');
  for (const key of ['workloads', 'services', 'policies', 'certificates'] as const) {
    if (typeof dump !== 'object' || dump === null || !Array.isArray((dump as Record<string, unknown>)[key])) {
      throw new KmeshError(
        'KMESH_ADMIN_ANSWER',
        `the config dump has no list "${key}": is this the admin port of Kmesh?`,
      );
    }
  }
  return dump as ConfigDump;
}
