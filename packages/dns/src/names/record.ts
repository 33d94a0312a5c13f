import type { IpFamilies, Service, Visibility } from '@kmesh/api';
import { ipFamily, type MeshView, serviceKey } from '@kmesh/orchestration';

/** Addresses of one network, as text. */
interface NetworkAddresses {
  readonly network: string;
  readonly v4: readonly string[];
  readonly v6: readonly string[];
}

/** A pod of a headless service. */
interface HeadlessEndpoint {
  readonly network: string;
  /** One address of each family. */
  readonly v4: string | undefined;
  readonly v6: string | undefined;
  /** The pod's own label below the service, for pods of a StatefulSet. */
  readonly podLabel: string | undefined;
}

/** The DNS-relevant part of a service; plain data, so that it can be posted to the answering thread. */
export interface NameRecord {
  /** `namespace/hostname`. */
  readonly key: string;
  /** Lower case; may start with `*.`. */
  readonly hostname: string;
  readonly namespace: string;
  readonly canonical: boolean;
  readonly visibility: Visibility;
  readonly families: IpFamilies | undefined;
  /** Virtual addresses; empty for a headless service. */
  readonly vips: readonly NetworkAddresses[];
  /** Endpoints of a headless service; `undefined` for a service with addresses. */
  readonly endpoints: readonly HeadlessEndpoint[] | undefined;
}

/**
 * Returns the record of a service. Returns `undefined` for services without an address unless they are Kubernetes
 * services: those are headless, and the answer is their healthy endpoints (contract 3.7, 12).
 */
export function nameRecordOf(
  view: Pick<MeshView, 'endpoints' | 'workload'>,
  service: Service,
  clusterDomain: string,
): NameRecord | undefined {
  const hostname = service.hostname.toLowerCase();
  const headless = service.vips.length === 0;
  if (headless && !hostname.endsWith(`.svc.${clusterDomain}`)) return undefined;
  const key = serviceKey(service);
  return {
    key,
    hostname,
    namespace: service.namespace,
    canonical: service.canonical,
    visibility: service.visibility,
    families: service.ipFamilies,
    vips: headless ? [] : byNetwork(service),
    endpoints: headless ? headlessEndpoints(view, key) : undefined,
  };
}

function byNetwork(service: Service): NetworkAddresses[] {
  const networks = new Map<string, { v4: string[]; v6: string[] }>();
  for (const { network, ip } of service.vips) {
    const addresses = networks.get(network) ?? { v4: [], v6: [] };
    networks.set(network, addresses);
    (ipFamily(ip) === 6 ? addresses.v6 : addresses.v4).push(ip);
  }
  return [...networks].map(([network, addresses]) => ({ network, ...addresses }));
}

function headlessEndpoints(view: Pick<MeshView, 'endpoints' | 'workload'>, key: string): HeadlessEndpoint[] {
  const endpoints: HeadlessEndpoint[] = [];
  for (const uid of view.endpoints(key).keys()) {
    const workload = view.workload(uid);
    if (workload === undefined || workload.addresses.length === 0) continue;
    endpoints.push({
      network: workload.network,
      v4: workload.addresses.find((ip) => ipFamily(ip) === 4),
      v6: workload.addresses.find((ip) => ipFamily(ip) === 6),
      podLabel: isStatefulPod(workload) ? workload.name.toLowerCase() : undefined,
    });
  }
  return endpoints;
}

/** Returns whether a pod belongs to a StatefulSet: only these have a stable name, `<set>-<ordinal>`. */
function isStatefulPod({ name, workloadName }: { name: string; workloadName: string }): boolean {
  return name.startsWith(`${workloadName}-`) && /^\d+$/.test(name.slice(workloadName.length + 1));
}
