import {
  type HealthPolicy,
  type IpFamilies,
  type LoadBalancer,
  type LoadBalancerMode,
  type LocalityScope,
  type NetworkAddress,
  type NetworkCidr,
  type Service,
  type Visibility,
  type WeightedWaypoint,
  workloadProto,
} from '@kmesh/api';
import {
  cidrText,
  convertGateway,
  convertPorts,
  enumMember,
  type Interner,
  rejected,
  requireIp,
} from './common.ts';

const scopes: readonly (LocalityScope | undefined)[] = [
  undefined,
  'Region',
  'Zone',
  'Subzone',
  'Node',
  'Cluster',
  'Network',
];
const modes: readonly LoadBalancerMode[] = ['Standard', 'Strict', 'Failover', 'Passthrough'];
const healthPolicies: readonly HealthPolicy[] = ['OnlyHealthy', 'AllowAll'];
const ipFamilies: readonly (IpFamilies | 'Automatic')[] = ['Automatic', 'IPv4', 'IPv6', 'Dual'];
const visibilities: readonly Visibility[] = ['Public', 'Namespace'];

const none: readonly never[] = [];

/**
 * Converts a wire service to a record of the mesh model (docs/contract.md 3.7).
 *
 * @throws KMESH_XDS_RESOURCE_REJECTED with the reason.
 */
export function convertService(message: workloadProto.Service, interner: Interner): Service {
  const families = enumMember('ip_families', message.ipFamilies ?? 0, ipFamilies);
  return {
    name: message.name ?? '',
    namespace: interner.text(message.namespace ?? ''),
    hostname: message.hostname ?? '',
    ...convertVips(message.addresses ?? none, interner),
    ports: convertPorts(message.ports, interner),
    subjectAltNames: message.subjectAltNames?.length ? message.subjectAltNames : none,
    waypoint: convertGateway('waypoint', message.waypoint, interner),
    weightedWaypoints: convertWeightedWaypoints(message.weightedWaypoints ?? none, interner),
    loadBalancer: convertLoadBalancing(message.loadBalancing),
    ipFamilies: families === 'Automatic' ? undefined : families,
    canonical: message.canonical ?? false,
    visibility: visibilities[message.visibility ?? 0] ?? 'Public',
    ...httpPortsOf(message.ports ?? none),
  };
}

/** Values of `app_protocol` that HTTP routes apply to: HTTP, HTTP/2, gRPC. */
const httpProtocols: ReadonlySet<number> = new Set([
  workloadProto.AppProtocol.HTTP11,
  workloadProto.AppProtocol.HTTP2,
  workloadProto.AppProtocol.GRPC,
]);

function httpPortsOf(ports: readonly workloadProto.Port[]): Pick<Service, 'httpPorts'> {
  const http = ports.filter(({ appProtocol }) => httpProtocols.has(appProtocol ?? 0));
  if (http.length === 0) return {};
  return { httpPorts: new Set(http.map(({ servicePort }) => (servicePort ?? 0) & 0xffff)) };
}

function convertVips(
  addresses: readonly workloadProto.NetworkAddress[],
  interner: Interner,
): { vips: readonly NetworkAddress[]; cidrVips: readonly NetworkCidr[] } {
  const vips: NetworkAddress[] = [];
  const cidrVips: NetworkCidr[] = [];
  for (const entry of addresses) {
    const network = interner.text(entry.network ?? '');
    const ip = requireIp('address', entry.address);
    const bytes = entry.address ?? new Uint8Array();
    const length = entry.length ?? bytes.length * 8;
    if (length === bytes.length * 8) {
      vips.push({ network, ip });
      continue;
    }
    const cidr = cidrText(bytes, length);
    if (cidr === undefined) throw rejected(`address ${ip} has the prefix length ${length}`);
    cidrVips.push({ network, cidr });
  }
  return { vips: vips.length > 0 ? vips : none, cidrVips: cidrVips.length > 0 ? cidrVips : none };
}

function convertWeightedWaypoints(
  waypoints: readonly workloadProto.WeightedWaypoint[],
  interner: Interner,
): readonly WeightedWaypoint[] {
  if (waypoints.length === 0) return none;
  return waypoints.map((entry) => {
    const destination = convertGateway('weighted waypoint', entry.destination, interner);
    if (destination === undefined) throw rejected('weighted waypoint has no destination');
    return { destination, weight: entry.weight ?? 0 };
  });
}

function convertLoadBalancing(
  loadBalancing: workloadProto.LoadBalancing | null | undefined,
): LoadBalancer | undefined {
  if (!loadBalancing) return undefined;
  return {
    routingPreferences: (loadBalancing.routingPreference ?? none).map((scope) =>
      enumMember('routing_preference', scope, scopes),
    ),
    mode: enumMember('load balancing mode', loadBalancing.mode ?? 0, modes),
    healthPolicy: enumMember('health_policy', loadBalancing.healthPolicy ?? 0, healthPolicies),
  };
}
