import type {
  ApplicationTunnel,
  HealthStatus,
  Locality,
  NetworkMode,
  PortMap,
  TunnelProtocol,
  Workload,
  WorkloadType,
  workloadProto,
} from '@kmesh/api';
import { convertGateway, convertPorts, enumMember, type Interner, rejected, requireIp } from './common.ts';

const tunnelProtocols: readonly TunnelProtocol[] = ['TCP', 'HBONE'];
const healthStatuses: readonly HealthStatus[] = ['Healthy', 'Unhealthy'];
const networkModes: readonly NetworkMode[] = ['Standard', 'HostNetwork'];
const workloadTypes: readonly WorkloadType[] = ['deployment', 'cronjob', 'pod', 'job'];
const tunnelProtocolsInPod: readonly ApplicationTunnel['protocol'][] = ['NONE', 'PROXY'];

const noNames: readonly string[] = [];
const noServices: ReadonlyMap<string, PortMap> = new Map();
const noLocality: Locality = { region: '', zone: '', subzone: '' };

/**
 * Converts a wire workload to a record of the mesh model (docs/contract.md 3.6). `resourceName` replaces an equal
 * uid, so that one copy of the text is kept.
 *
 * @throws KMESH_XDS_RESOURCE_REJECTED with the reason.
 */
export function convertWorkload(
  message: workloadProto.Workload,
  interner: Interner,
  resourceName: string,
): Workload {
  const text = (value: string | null | undefined): string => interner.text(value ?? '');
  return {
    uid: message.uid === resourceName ? resourceName : (message.uid ?? ''),
    name: message.name ?? '',
    namespace: text(message.namespace),
    addresses: convertAddresses(message.addresses),
    hostname: message.hostname ?? '',
    network: text(message.network),
    protocol: enumMember('tunnel_protocol', message.tunnelProtocol ?? 0, tunnelProtocols),
    trustDomain: text(message.trustDomain || 'cluster.local'),
    serviceAccount: text(message.serviceAccount || 'default'),
    waypoint: convertGateway('waypoint', message.waypoint, interner),
    networkGateway: convertGateway('network_gateway', message.networkGateway, interner),
    node: text(message.node),
    canonicalName: text(message.canonicalName),
    canonicalRevision: text(message.canonicalRevision),
    workloadType: workloadTypes[message.workloadType ?? 0] ?? 'deployment',
    workloadName: text(message.workloadName),
    nativeTunnel: message.nativeTunnel ?? false,
    applicationTunnel: convertApplicationTunnel(message.applicationTunnel),
    services: convertServices(message.services, interner),
    authorizationPolicies: convertNames(message.authorizationPolicies, interner),
    status: enumMember('status', message.status ?? 0, healthStatuses),
    clusterId: text(message.clusterId || 'Kubernetes'),
    locality: convertLocality(message.locality, interner),
    networkMode: enumMember('network_mode', message.networkMode ?? 0, networkModes),
    capacity: message.capacity ? (message.capacity.value ?? 0) : 1,
  };
}

function convertAddresses(addresses: readonly Uint8Array[] | null | undefined): readonly string[] {
  if (!addresses || addresses.length === 0) return noNames;
  return addresses.map((address) => requireIp('address', address));
}

function convertNames(names: readonly string[] | null | undefined, interner: Interner): readonly string[] {
  if (!names || names.length === 0) return noNames;
  return interner.nameLists.get(names.join('\n'), () => names.map((name) => interner.text(name)));
}

function convertLocality(locality: workloadProto.Locality | null | undefined, interner: Interner): Locality {
  if (!locality) return noLocality;
  const { region, zone, subzone } = locality;
  return interner.localities.get(`${region ?? ''}\n${zone ?? ''}\n${subzone ?? ''}`, () => ({
    region: region ?? '',
    zone: zone ?? '',
    subzone: subzone ?? '',
  }));
}

function convertApplicationTunnel(
  tunnel: workloadProto.ApplicationTunnel | null | undefined,
): ApplicationTunnel | undefined {
  if (!tunnel) return undefined;
  const port = (tunnel.port ?? 0) & 0xffff;
  return {
    protocol: enumMember('application_tunnel protocol', tunnel.protocol ?? 0, tunnelProtocolsInPod),
    port: port === 0 ? undefined : port,
  };
}

function convertServices(
  services: { readonly [key: string]: workloadProto.PortList } | null | undefined,
  interner: Interner,
): ReadonlyMap<string, PortMap> {
  let identity = '';
  for (const key in services) {
    if (!key.includes('/')) throw rejected(`services key ${JSON.stringify(key)} is not namespace/hostname`);
    identity += key;
    for (const port of services[key]?.ports ?? [])
      identity += ` ${port.servicePort ?? 0}:${port.targetPort ?? 0}`;
    identity += '\n';
  }
  if (identity === '') return noServices;
  return interner.services.get(identity, () => {
    const map = new Map<string, PortMap>();
    for (const [key, list] of Object.entries(services ?? {})) {
      map.set(interner.text(key), convertPorts(list.ports, interner));
    }
    return map;
  });
}
