import {
  type GatewayAddress,
  type LoadBalancer,
  type Policy,
  type PolicyMatch,
  type PortMap,
  type Route,
  type RouteBackend,
  type RouteRule,
  routeProto,
  type Service,
  type StringMatcher,
  securityProto,
  type Workload,
  workloadProto,
} from '@kmesh/api';
import { ipBytes } from '../pki/x509-fields.ts';

const statusNumbers = { Healthy: 0, Unhealthy: 1 } as const;
const workloadTypeNumbers: Readonly<Record<string, number>> = { deployment: 0, cronjob: 1, pod: 2, job: 3 };

/** Port pairs, in the order of the map. */
function encodePorts(ports: PortMap, http?: ReadonlySet<number>): workloadProto.Port[] {
  return [...ports].map(([servicePort, targetPort]) => ({
    servicePort,
    targetPort,
    ...(http?.has(servicePort) ? { appProtocol: workloadProto.AppProtocol.HTTP11 } : {}),
  }));
}

function encodeGateway(gateway: GatewayAddress): workloadProto.GatewayAddress {
  const { destination, hboneMtlsPort } = gateway;
  if (destination.kind === 'hostname') {
    return { hostname: { namespace: destination.namespace, hostname: destination.hostname }, hboneMtlsPort };
  }
  return { address: { network: destination.network, address: ipBytes(destination.ip) }, hboneMtlsPort };
}

/** A workload as istiod writes it: defaults are elided (protocol notes, section 4.2). */
function encodeWorkload(workload: Workload): workloadProto.Workload {
  const message: workloadProto.Workload = {
    uid: workload.uid,
    name: workload.name,
    namespace: workload.namespace,
    addresses: workload.addresses.map(ipBytes),
    hostname: workload.hostname,
    network: workload.network,
    tunnelProtocol: workload.protocol === 'HBONE' ? 1 : 0,
    trustDomain: workload.trustDomain === 'cluster.local' ? '' : workload.trustDomain,
    serviceAccount: workload.serviceAccount === 'default' ? '' : workload.serviceAccount,
    node: workload.node,
    canonicalName: workload.canonicalName,
    canonicalRevision: workload.canonicalRevision,
    workloadType: workloadTypeNumbers[workload.workloadType] ?? 0,
    workloadName: workload.workloadName,
    nativeTunnel: workload.nativeTunnel,
    services: Object.fromEntries(
      [...workload.services].map(([key, ports]) => [key, { ports: encodePorts(ports) }]),
    ),
    authorizationPolicies: [...workload.authorizationPolicies],
    status: statusNumbers[workload.status],
    clusterId: workload.clusterId === 'Kubernetes' ? '' : workload.clusterId,
    locality: { ...workload.locality },
    networkMode: workload.networkMode === 'HostNetwork' ? 1 : 0,
  };
  if (workload.waypoint !== undefined) message.waypoint = encodeGateway(workload.waypoint);
  if (workload.networkGateway !== undefined) message.networkGateway = encodeGateway(workload.networkGateway);
  if (workload.applicationTunnel !== undefined) {
    const { protocol, port } = workload.applicationTunnel;
    message.applicationTunnel = { protocol: protocol === 'PROXY' ? 1 : 0, port: port ?? 0 };
  }
  if (workload.capacity !== 1) message.capacity = { value: workload.capacity };
  return message;
}

/** The payload of a workload's `Address` resource. */
export function workloadPayload(workload: Workload): Buffer {
  return workloadProto.Address.encode({ workload: encodeWorkload(workload) });
}

const preferenceNumbers = { Region: 1, Zone: 2, Subzone: 3, Node: 4, Cluster: 5, Network: 6 } as const;
const modeNumbers = { Standard: 0, Strict: 1, Failover: 2, Passthrough: 3 } as const;
const familyNumbers = { IPv4: 1, IPv6: 2, Dual: 3 } as const;

function encodeLoadBalancing(loadBalancer: LoadBalancer): workloadProto.LoadBalancing {
  return {
    routingPreference: loadBalancer.routingPreferences.map((scope) => preferenceNumbers[scope]),
    mode: modeNumbers[loadBalancer.mode],
    healthPolicy: loadBalancer.healthPolicy === 'AllowAll' ? 1 : 0,
  };
}

function encodeNetworkCidr(network: string, cidr: string): workloadProto.NetworkAddress {
  const [address = '', length = ''] = cidr.split('/');
  return { network, address: ipBytes(address), length: Number(length) };
}

/** A service as istiod writes it (protocol notes, section 4.3). */
function encodeService(service: Service): workloadProto.Service {
  const message: workloadProto.Service = {
    name: service.name,
    namespace: service.namespace,
    hostname: service.hostname,
    addresses: [
      ...service.vips.map(({ network, ip }) => ({ network, address: ipBytes(ip) })),
      ...service.cidrVips.map(({ network, cidr }) => encodeNetworkCidr(network, cidr)),
    ],
    ports: encodePorts(service.ports, service.httpPorts),
    subjectAltNames: [...service.subjectAltNames],
    ipFamilies: service.ipFamilies === undefined ? 0 : familyNumbers[service.ipFamilies],
    canonical: service.canonical,
    weightedWaypoints: service.weightedWaypoints.map(({ destination, weight }) => ({
      destination: encodeGateway(destination),
      weight,
    })),
    visibility: service.visibility === 'Namespace' ? 1 : 0,
  };
  if (service.waypoint !== undefined) message.waypoint = encodeGateway(service.waypoint);
  if (service.loadBalancer !== undefined) message.loadBalancing = encodeLoadBalancing(service.loadBalancer);
  return message;
}

/** The payload of a service's `Address` resource. */
export function servicePayload(service: Service): Buffer {
  return workloadProto.Address.encode({ service: encodeService(service) });
}

const scopeNumbers = { Global: 0, Namespace: 1, WorkloadSelector: 2 } as const;

function encodeMatcher(matcher: StringMatcher): securityProto.StringMatch {
  switch (matcher.kind) {
    case 'Exact':
      return { exact: matcher.value };
    case 'Prefix':
      return { prefix: matcher.value };
    case 'Suffix':
      return { suffix: matcher.value };
    case 'Presence':
      return { presence: {} };
  }
}

function encodeCidr(cidr: string): securityProto.Address {
  const [address = '', length] = cidr.split('/');
  const bytes = ipBytes(address);
  return { address: bytes, length: length === undefined ? bytes.length * 8 : Number(length) };
}

function encodeMatch(match: PolicyMatch): securityProto.Match {
  return {
    namespaces: (match.namespaces ?? []).map(encodeMatcher),
    notNamespaces: (match.notNamespaces ?? []).map(encodeMatcher),
    serviceAccounts: (match.serviceAccounts ?? []).map((account) => ({ ...account })),
    notServiceAccounts: (match.notServiceAccounts ?? []).map((account) => ({ ...account })),
    principals: (match.principals ?? []).map(encodeMatcher),
    notPrincipals: (match.notPrincipals ?? []).map(encodeMatcher),
    sourceIps: (match.sourceIps ?? []).map(encodeCidr),
    notSourceIps: (match.notSourceIps ?? []).map(encodeCidr),
    destinationIps: (match.destinationIps ?? []).map(encodeCidr),
    notDestinationIps: (match.notDestinationIps ?? []).map(encodeCidr),
    destinationPorts: [...(match.destinationPorts ?? [])],
    notDestinationPorts: [...(match.notDestinationPorts ?? [])],
  };
}

/** The payload of an `Authorization` resource (protocol notes, section 5). */
export function policyPayload(policy: Policy): Buffer {
  return securityProto.Authorization.encode({
    name: policy.name,
    namespace: policy.namespace,
    scope: scopeNumbers[policy.scope],
    action: policy.action === 'Deny' ? 1 : 0,
    rules: policy.rules.map((rule) => ({
      clauses: rule.map((clause) => ({ matches: clause.map(encodeMatch) })),
    })),
    dryRun: policy.dryRun,
  });
}

function encodeDestination({ hostname, port, weight }: RouteBackend): routeProto.RouteDestination {
  return {
    destination: { host: hostname, ...(port === undefined ? {} : { port: { number: port } }) },
    weight,
  };
}

function encodeRules(rules: readonly RouteRule[] | undefined): routeProto.TCPRoute[] {
  return (rules ?? []).map(({ matches, backends }) => ({
    match: [...matches],
    route: backends.map(encodeDestination),
  }));
}

/** istiod's form of an HTTP rule in which no backend has a weight: a direct response. */
function encodeHttpRules(route: Route): routeProto.HTTPRoute[] {
  return encodeRules(route.http).map((rule) =>
    route.isGatewayApi && rule.route?.length === 0 ? { ...rule, directResponse: fixedAnswer } : rule,
  );
}

/** `HTTPDirectResponse` with status 500. */
const fixedAnswer = Buffer.from([0x08, 0xf4, 0x03]);
/** An unsupported field of a route: a rewrite of requests. */
const rewriting: routeProto.HTTPRoute = { rewrite: Buffer.of() };

/** The payload of a `VirtualService` resource (docs/routes.md). */
export function routePayload(route: Route): Buffer {
  return routeProto.Resource.encode({
    metadata: {
      name: `${route.namespace}/${route.name}`,
      createTime: { seconds: route.createdAt },
      annotations: route.isGatewayApi ? { 'internal.istio.io/route-semantics': 'gateway' } : {},
    },
    body: {
      typeUrl: 'type.googleapis.com/istio.networking.v1alpha3.VirtualService',
      value: routeProto.VirtualService.encode({
        hosts: [...route.hosts],
        exportTo: [...route.exportTo],
        tcp: encodeRules(route.tcp),
        http: route.unsupported === undefined ? encodeHttpRules(route) : [rewriting],
      }),
    },
  });
}
