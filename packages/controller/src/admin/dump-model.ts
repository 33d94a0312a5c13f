import type {
  GatewayAddress,
  Locality,
  Policy,
  PolicyMatch,
  PortMap,
  Service,
  StringMatcher,
  Workload,
} from '@kmesh/api';
import { LazyObject } from './stream-json.ts';

/** Returns a workload as the config dump writes it (ambient contract 13.3). Absent keys are left out, as tools expect. */
export function dumpWorkload(workload: Workload): Record<string, unknown> {
  const { waypoint, networkGateway, applicationTunnel, authorizationPolicies, services } = workload;
  // JSON leaves out what is undefined. A literal that spreads its parts would be three times as much garbage.
  return {
    workloadIps: workload.addresses,
    waypoint: waypoint && dumpGateway(waypoint),
    networkGateway: networkGateway && dumpGateway(networkGateway),
    protocol: workload.protocol,
    networkMode: workload.networkMode,
    uid: unlessEmpty(workload.uid),
    name: workload.name,
    namespace: workload.namespace,
    trustDomain: unlessEmpty(workload.trustDomain),
    serviceAccount: unlessEmpty(workload.serviceAccount),
    network: unlessEmpty(workload.network),
    workloadName: unlessEmpty(workload.workloadName),
    workloadType: unlessEmpty(workload.workloadType),
    canonicalName: unlessEmpty(workload.canonicalName),
    canonicalRevision: unlessEmpty(workload.canonicalRevision),
    hostname: unlessEmpty(workload.hostname),
    node: unlessEmpty(workload.node),
    nativeTunnel: workload.nativeTunnel || undefined,
    applicationTunnel: applicationTunnel && {
      protocol: applicationTunnel.protocol,
      port: applicationTunnel.port ?? null,
    },
    authorizationPolicies: authorizationPolicies.length === 0 ? undefined : authorizationPolicies,
    status: workload.status,
    clusterId: workload.clusterId,
    locality: dumpLocality(workload.locality),
    services: services.size === 0 ? undefined : [...services.keys()].sort(),
    capacity: workload.capacity,
  };
}

/** One endpoint of a service or of the staging area. */
interface DumpedEndpoint {
  readonly workloadUid: string;
  readonly ports: PortMap;
  readonly status: string;
}

/** Endpoints by workload uid (ambient contract 13.4), written while they are read: a service may have very many. */
export function dumpEndpoints(endpoints: Iterable<DumpedEndpoint>): LazyObject {
  return new LazyObject(endpointEntries(endpoints));
}

function* endpointEntries(endpoints: Iterable<DumpedEndpoint>): Generator<[uid: string, endpoint: unknown]> {
  for (const { workloadUid, ports, status } of endpoints) {
    yield [workloadUid, { workloadUid, port: dumpPorts(ports), status }];
  }
}

/** Returns a service as the config dump writes it (ambient contract 13.4). */
export function dumpService(service: Service, endpoints: Iterable<DumpedEndpoint>): Record<string, unknown> {
  return {
    name: service.name,
    namespace: service.namespace,
    hostname: service.hostname,
    vips: service.vips.map((vip) => `${vip.network}/${vip.ip}`),
    ...(service.cidrVips.length === 0 ? {} : { cidrVips: service.cidrVips }),
    ports: dumpPorts(service.ports),
    endpoints: dumpEndpoints(endpoints),
    subjectAltNames: service.subjectAltNames,
    ...(service.waypoint === undefined ? {} : { waypoint: dumpGateway(service.waypoint) }),
    ...(service.weightedWaypoints.length === 0
      ? {}
      : {
          weightedWaypoints: service.weightedWaypoints.map(({ destination, weight }) => ({
            destination: dumpGateway(destination),
            weight,
          })),
        }),
    ...(service.loadBalancer === undefined ? {} : { loadBalancer: service.loadBalancer }),
    ...(service.ipFamilies === undefined ? {} : { ipFamilies: service.ipFamilies }),
    canonical: service.canonical,
    visibility: service.visibility,
    ...(service.httpPorts === undefined ? {} : { httpPorts: [...service.httpPorts] }),
  };
}

/** Returns a policy as the config dump writes it (ambient contract 13.5). */
export function dumpPolicy(policy: Policy): Record<string, unknown> {
  return {
    name: policy.name,
    namespace: policy.namespace,
    scope: policy.scope,
    action: policy.action,
    rules: policy.rules.map((rule) => rule.map((clause) => clause.map(dumpMatch))),
    dryRun: policy.dryRun,
  };
}

function dumpMatch(match: PolicyMatch): Record<string, unknown> {
  const matchers = { ...match } as Record<string, unknown>;
  delete matchers['hasUnknownField'];
  for (const key of ['namespaces', 'notNamespaces', 'principals', 'notPrincipals'] as const) {
    const list = match[key];
    if (list !== undefined) matchers[key] = list.map(dumpMatcher);
  }
  return Object.fromEntries(
    Object.entries(matchers).filter(
      ([, value]) => value !== undefined && !(Array.isArray(value) && value.length === 0),
    ),
  );
}

function dumpMatcher(matcher: StringMatcher): Record<string, unknown> {
  return matcher.kind === 'Presence' ? { Presence: [] } : { [matcher.kind]: matcher.value };
}

function dumpGateway(gateway: GatewayAddress): Record<string, unknown> {
  const { destination } = gateway;
  return {
    destination:
      destination.kind === 'address'
        ? `${destination.network}/${destination.ip}`
        : `${destination.namespace}/${destination.hostname}`,
    hboneMtlsPort: gateway.hboneMtlsPort,
  };
}

function dumpLocality(locality: Locality): Locality | undefined {
  const { region, zone, subzone } = locality;
  return region === '' && zone === '' && subzone === '' ? undefined : { region, zone, subzone };
}

/** Returns an object of service port → target port. */
export function dumpPorts(ports: PortMap): Record<string, number> {
  return Object.fromEntries([...ports].map(([port, target]) => [String(port), target]));
}

function unlessEmpty(value: string): string | undefined {
  return value === '' ? undefined : value;
}
