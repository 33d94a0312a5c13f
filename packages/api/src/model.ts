/**
 * The mesh model: the records of the control plane or the local mesh file, plain and immutable.
 *
 * Spellings follow docs/contract.md, sections 4 and 13, so that the same records serve the local file, the decisions
 * and the config dump. IP addresses are canonical text (IPv6 compressed and lower-case, IPv4-mapped
 * IPv6 written as IPv4); keys of services and policies are `namespace/name` text.
 */

export type TunnelProtocol = 'TCP' | 'HBONE';
export type NetworkMode = 'Standard' | 'HostNetwork';
export type HealthStatus = 'Healthy' | 'Unhealthy';
/** The types that the control plane knows; a local mesh file may name others, such as `statefulset`. */
export type WorkloadType = 'deployment' | 'cronjob' | 'pod' | 'job';
export type LocalityScope = 'Region' | 'Zone' | 'Subzone' | 'Node' | 'Cluster' | 'Network';
export type LoadBalancerMode = 'Standard' | 'Strict' | 'Failover' | 'Passthrough';
export type HealthPolicy = 'OnlyHealthy' | 'AllowAll';
export type IpFamilies = 'Dual' | 'IPv4' | 'IPv6';
export type Visibility = 'Public' | 'Namespace';

export interface Locality {
  readonly region: string;
  readonly zone: string;
  readonly subzone: string;
}

/** Location of a gateway or waypoint: `network/ip` or `namespace/hostname`, discriminated by `kind`. */
export type GatewayDestination =
  | { readonly kind: 'address'; readonly network: string; readonly ip: string }
  | { readonly kind: 'hostname'; readonly namespace: string; readonly hostname: string };

export interface GatewayAddress {
  readonly destination: GatewayDestination;
  /** TCP port of the mTLS tunnel, 15008 in practice. */
  readonly hboneMtlsPort: number;
}

export interface WeightedWaypoint {
  readonly destination: GatewayAddress;
  /** Relative weight; 0 is never drawn. */
  readonly weight: number;
}

export interface ApplicationTunnel {
  readonly protocol: 'NONE' | 'PROXY';
  /** `undefined`: the requested port. */
  readonly port: number | undefined;
}

/** Service port → target port. Target 0 of a service is a named port, mapped by each endpoint. */
export type PortMap = ReadonlyMap<number, number>;

export interface Workload {
  readonly uid: string;
  readonly name: string;
  readonly namespace: string;
  readonly addresses: readonly string[];
  /** Resolved on demand when there are no addresses. */
  readonly hostname: string;
  readonly network: string;
  readonly protocol: TunnelProtocol;
  readonly trustDomain: string;
  readonly serviceAccount: string;
  readonly waypoint: GatewayAddress | undefined;
  readonly networkGateway: GatewayAddress | undefined;
  readonly node: string;
  readonly canonicalName: string;
  readonly canonicalRevision: string;
  readonly workloadType: WorkloadType | (string & {});
  readonly workloadName: string;
  readonly nativeTunnel: boolean;
  readonly applicationTunnel: ApplicationTunnel | undefined;
  /** Service key (`namespace/hostname`) → port mappings of this endpoint. */
  readonly services: ReadonlyMap<string, PortMap>;
  /** Keys of selector policies only. */
  readonly authorizationPolicies: readonly string[];
  readonly status: HealthStatus;
  readonly clusterId: string;
  readonly locality: Locality;
  readonly networkMode: NetworkMode;
  /** Relative weight; 0 receives no traffic. */
  readonly capacity: number;
}

export interface NetworkAddress {
  readonly network: string;
  readonly ip: string;
}

export interface NetworkCidr {
  readonly network: string;
  /** `address/length`, the address masked to the prefix. */
  readonly cidr: string;
}

export interface LoadBalancer {
  readonly routingPreferences: readonly LocalityScope[];
  readonly mode: LoadBalancerMode;
  readonly healthPolicy: HealthPolicy;
}

export interface Service {
  readonly name: string;
  readonly namespace: string;
  readonly hostname: string;
  readonly vips: readonly NetworkAddress[];
  readonly cidrVips: readonly NetworkCidr[];
  readonly ports: PortMap;
  readonly subjectAltNames: readonly string[];
  readonly waypoint: GatewayAddress | undefined;
  readonly weightedWaypoints: readonly WeightedWaypoint[];
  /** `undefined` means Standard over healthy endpoints. */
  readonly loadBalancer: LoadBalancer | undefined;
  /** `undefined` means no restriction. */
  readonly ipFamilies: IpFamilies | undefined;
  readonly canonical: boolean;
  readonly visibility: Visibility;
  /** Service ports that are declared HTTP, HTTP/2 or gRPC; absent: none. */
  readonly httpPorts?: ReadonlySet<number>;
}

/** One workload as an endpoint of one service; the mesh state derives it from `Workload.services`. */
export interface Endpoint {
  readonly workloadUid: string;
  readonly ports: PortMap;
  readonly status: HealthStatus;
}

export type PolicyScope = 'Global' | 'Namespace' | 'WorkloadSelector';
export type PolicyAction = 'Allow' | 'Deny';

export type StringMatcher =
  | { readonly kind: 'Exact'; readonly value: string }
  | { readonly kind: 'Prefix'; readonly value: string }
  | { readonly kind: 'Suffix'; readonly value: string }
  | { readonly kind: 'Presence' };

export interface ServiceAccountMatcher {
  readonly namespace: string;
  readonly serviceAccount: string;
}

/** Field groups are AND-ed, the values of one list OR-ed; an absent list is an empty one. docs/contract.md 8.3. */
export interface PolicyMatch {
  readonly namespaces?: readonly StringMatcher[];
  readonly notNamespaces?: readonly StringMatcher[];
  readonly serviceAccounts?: readonly ServiceAccountMatcher[];
  readonly notServiceAccounts?: readonly ServiceAccountMatcher[];
  readonly principals?: readonly StringMatcher[];
  readonly notPrincipals?: readonly StringMatcher[];
  /** CIDR text. */
  readonly sourceIps?: readonly string[];
  readonly notSourceIps?: readonly string[];
  readonly destinationIps?: readonly string[];
  readonly notDestinationIps?: readonly string[];
  readonly destinationPorts?: readonly number[];
  readonly notDestinationPorts?: readonly number[];
  /** The resource has a field unknown to this version: never matches in ALLOW, counts as matching in DENY. */
  readonly hasUnknownField?: boolean;
}

export interface Policy {
  readonly name: string;
  readonly namespace: string;
  readonly scope: PolicyScope;
  readonly action: PolicyAction;
  /** Rules (OR) of clauses (AND) of matches (OR). */
  readonly rules: readonly (readonly (readonly PolicyMatch[])[])[];
  readonly dryRun: boolean;
}

/** SPIFFE identity of a workload. `principal` form: `td/ns/<namespace>/sa/<account>`; URI form adds `spiffe://`. */
export interface Identity {
  readonly trustDomain: string;
  readonly namespace: string;
  readonly serviceAccount: string;
}

/** One destination of a route rule. */
export interface RouteBackend {
  /** Host name of a service; empty if the control plane permits none: its share is refused. */
  readonly hostname: string;
  /** Port of that service; `undefined` for the dialled port, or else its only port. */
  readonly port: number | undefined;
  /** Relative weight; 0 receives no connections. */
  readonly weight: number;
}

/** Condition on a connection; an absent field matches every connection. */
export interface RouteMatch {
  /** Service port. */
  readonly port?: number;
  /** Namespace of the client. */
  readonly sourceNamespace?: string;
}

/** Connections that a rule matches, and their backends. */
export interface RouteRule {
  /** Matches if one of them does; empty matches every connection. */
  readonly matches: readonly RouteMatch[];
  /** If empty, or all of weight 0, every connection is refused. */
  readonly backends: readonly RouteBackend[];
}

/** How new connections to services are split among backends (docs/routes.md). */
export interface Route {
  readonly namespace: string;
  readonly name: string;
  /** Host names of the services that it applies to; a leading `*.` matches any prefix. */
  readonly hosts: readonly string[];
  /** Namespaces of the clients that it applies to: names, `*` for all, `.` for its own; empty for all. */
  readonly exportTo: readonly string[];
  /** From the Gateway API: outside the service's namespace, it applies only to clients of its own namespace. */
  readonly isGatewayApi: boolean;
  /** Seconds since the epoch; of two routes for one service, the older one applies. */
  readonly createdAt: number;
  /** Rules for ports that are not declared HTTP; the first match applies. `undefined` if the route has none. */
  readonly tcp: readonly RouteRule[] | undefined;
  /** Rules for ports that are declared HTTP, likewise. */
  readonly http: readonly RouteRule[] | undefined;
  /** The feature that a split of connections cannot express; the whole route is then not applied. */
  readonly unsupported: string | undefined;
}

/** One change of the mesh; every source (xDS, local file, lab) passes these to the mesh state. */
export type MeshUpdate =
  | { readonly kind: 'workload'; readonly workload: Workload }
  | { readonly kind: 'service'; readonly service: Service }
  | { readonly kind: 'policy'; readonly policy: Policy }
  | { readonly kind: 'route'; readonly route: Route }
  | { readonly kind: 'removeWorkload'; readonly uid: string }
  | { readonly kind: 'removeService'; readonly key: string }
  | { readonly kind: 'removePolicy'; readonly key: string }
  | { readonly kind: 'removeRoute'; readonly key: string };

/** A pod in a ZDS message of the CNI agent. */
export interface PodInfo {
  readonly name: string;
  readonly namespace: string;
  readonly serviceAccount: string;
}
