import type { X509Certificate } from 'node:crypto';
import { formatIdentityUri, type MeshState, reportRoute, routeKey, serviceKey } from '@kmesh/orchestration';
import type { ConnectionStart, LiveConnections } from '@kmesh/probe';
import type { CertificateEntry } from '../certificates/certificate-manager.ts';
import type { Config } from '../config/config.ts';
import { configDump } from '../config/dump.ts';
import type { VersionInfo } from '../version.ts';
import { dumpEndpoints, dumpPolicy, dumpService, dumpWorkload } from './dump-model.ts';
import { LazyList, LazyObject, slicerForPages, sortedInSlices } from './stream-json.ts';

/** Sources of the parts of the dump; each is read anew for every dump. */
interface ConfigDumpSources {
  readonly state: MeshState;
  readonly config: Config;
  readonly version: VersionInfo;
  /** Certificate objects, sorted by identity (ambient contract 13.6). */
  readonly certificates: () => readonly unknown[];
  /** Pod uid → state (ambient contract 13.7); `undefined` in dedicated mode. */
  readonly workloadState: () => Readonly<Record<string, unknown>> | undefined;
  /** The current content of the local mesh file, in the spelling of ambient contract section 4. */
  readonly staticConfig: () => {
    readonly workloads: unknown;
    readonly policies: unknown;
    readonly services: unknown;
  };
}

/**
 * Builds `/config_dump` (ambient contract 13.2) for `streamJson`. Lists are always present and sorted, so that tools can
 * rely on them. Large parts are written while they are read: if the mesh changes meanwhile, the dump may mix both states.
 */
export async function buildConfigDump(sources: ConfigDumpSources): Promise<Record<string, unknown>> {
  const { state } = sources;
  const slicer = slicerForPages();
  const workloads = await sortedInSlices(state.workloads(), ({ uid }) => uid, slicer);
  const services = await sortedInSlices(state.services(), ({ hostname }) => hostname, slicer);
  const policies = await sortedInSlices(
    state.policies(),
    (policy) => `${policy.namespace}/${policy.name}`,
    slicer,
  );
  const routes = await sortedInSlices(state.routes(), routeKey, slicer);
  const workloadState = sources.workloadState();
  return {
    workloads: new LazyList(mapped(workloads, dumpWorkload)),
    services: new LazyList(
      mapped(services, (service) => dumpService(service, state.endpoints(serviceKey(service)).values())),
    ),
    policies: new LazyList(mapped(policies, dumpPolicy)),
    routes: new LazyList(
      mapped(routes, (route) => ({ ...route, problems: reportRoute(state, route).problems })),
    ),
    stagedServices: new LazyObject(
      mapped(
        state.stagedEndpoints(),
        ([key, endpoints]) => [key, dumpEndpoints(endpoints.values())] as const,
      ),
    ),
    staticConfig: sources.staticConfig(),
    version: sources.version,
    config: configDump(sources.config),
    certificates: sources.certificates(),
    ...(workloadState === undefined ? {} : { workloadState }),
  };
}

function* mapped<From, To>(items: Iterable<From>, change: (item: From) => To): Generator<To> {
  for (const item of items) yield change(item);
}

/** One certificate of the config dump (ambient contract 13.6). */
interface DumpedCertificate {
  /** Base64 of the PEM text. */
  readonly pem: string;
  /** Decimal. */
  readonly serialNumber: string;
  readonly validFrom: string;
  readonly expirationTime: string;
}

/** One element of the config dump's `certificates` (ambient contract 13.6). Holds no key. */
interface DumpedIdentity {
  readonly identity: string;
  readonly state: string;
  readonly certChain: readonly DumpedCertificate[];
  readonly rootCerts: readonly DumpedCertificate[];
}

function seconds(date: Date): string {
  return `${date.toISOString().slice(0, 19)}Z`;
}

function dumpCertificate(certificate: X509Certificate): DumpedCertificate {
  return {
    pem: Buffer.from(certificate.toString()).toString('base64'),
    serialNumber: BigInt(`0x${certificate.serialNumber}`).toString(),
    validFrom: seconds(certificate.validFromDate),
    expirationTime: seconds(certificate.validToDate),
  };
}

/** Returns the `certificates` array of the config dump, ordered by identity. */
export function dumpCertificates(entries: readonly CertificateEntry[]): DumpedIdentity[] {
  return entries
    .map((entry) => ({
      identity: formatIdentityUri(entry.identity),
      state: entry.state === 'Unavailable' ? `Unavailable: ${entry.reason ?? ''}` : entry.state,
      certChain: (entry.certificate?.chain ?? []).map(dumpCertificate),
      rootCerts: (entry.certificate?.roots ?? []).map(dumpCertificate),
    }))
    .sort((left, right) => (left.identity < right.identity ? -1 : 1));
}

/** A pod that is served, or pending. */
interface StatedPod {
  readonly state: 'Up' | 'Pending';
  readonly uid: string;
  readonly name: string;
  readonly namespace: string;
  readonly serviceAccount: string;
  /** Uid of its workload; `undefined` while the mesh does not know it. */
  readonly workloadUid: string | undefined;
}

interface DumpedConnection {
  readonly src: string;
  /** Outbound: the address that the application dialled. Inbound: the host name that the client reports. */
  readonly originalDst: string | null;
  /** Outbound: the next hop. Inbound: the application. */
  readonly actualDst: string;
  readonly protocol: 'TCP' | 'HBONE' | 'DOUBLEHBONE';
}

interface DumpedConnections {
  readonly inbound: DumpedConnection[];
  readonly outbound: DumpedConnection[];
}

/** Returns `workloadState` of the config dump, with the connections of both paths (ambient contract 13.7). */
export function dumpWorkloadState(
  pods: readonly StatedPod[],
  live: LiveConnections,
): Record<string, unknown> {
  const byWorkload = new Map<string, DumpedConnections>();
  for (const pod of pods) {
    if (pod.workloadUid !== undefined) byWorkload.set(pod.workloadUid, { inbound: [], outbound: [] });
  }
  for (const start of live.starts()) {
    const outbound = start.reporter === 'source';
    const connections = byWorkload.get((outbound ? start.source : start.destination)?.uid ?? '');
    connections?.[outbound ? 'outbound' : 'inbound'].push(dumpConnection(start));
  }
  return Object.fromEntries(
    pods.map(({ uid, workloadUid, state, ...info }) => {
      const connections = byWorkload.get(workloadUid ?? '') ?? { inbound: [], outbound: [] };
      return [uid, state === 'Pending' ? { state, info } : { state, connections, info }];
    }),
  );
}

function dumpConnection(start: ConnectionStart): DumpedConnection {
  return {
    src: start.sourceAddress,
    originalDst:
      start.reporter === 'source'
        ? (start.dialledAddress ?? start.destinationAddress)
        : (start.forwardedHost ?? null),
    actualDst: start.applicationAddress ?? start.destinationAddress,
    protocol: protocolOf(start),
  };
}

function protocolOf(start: ConnectionStart): DumpedConnection['protocol'] {
  if (start.securityPolicy !== 'mutual_tls') return 'TCP';
  // Only a call through a network gateway has a separate inner identity.
  return start.reporter === 'source' && start.destinationIdentity !== undefined ? 'DOUBLEHBONE' : 'HBONE';
}
