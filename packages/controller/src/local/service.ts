import type {
  Endpoint,
  HealthPolicy,
  IpFamilies,
  LoadBalancer,
  LoadBalancerMode,
  LocalityScope,
  NetworkCidr,
  Service,
  WeightedWaypoint,
} from '@kmesh/api';
import { canonicalCidr } from '@kmesh/orchestration';
import type { Field, YamlReader } from './yaml-reader.ts';
import { readGateway, readNetworkAddresses, readPorts, readTexts } from './yaml-reader.ts';

const REQUIRED = ['name', 'namespace', 'hostname', 'vips', 'ports'] as const;
const OPTIONAL = [
  'cidrVips',
  'endpoints',
  'subjectAltNames',
  'waypoint',
  'weightedWaypoints',
  'loadBalancer',
  'ipFamilies',
  'canonical',
  'visibility',
  'httpPorts',
] as const;

const SCOPES: readonly LocalityScope[] = ['Region', 'Zone', 'Subzone', 'Node', 'Cluster', 'Network'];
const MODES: readonly LoadBalancerMode[] = ['Standard', 'Strict', 'Failover', 'Passthrough'];
const HEALTH_POLICIES: readonly HealthPolicy[] = ['OnlyHealthy', 'AllowAll'];
const MAXIMUM_WEIGHT = 2 ** 32 - 1;

/** A service of the file and the endpoints that its entry lists. */
export interface LocalService {
  readonly service: Service;
  readonly endpoints: readonly Endpoint[];
}

/** Reads one entry of `services` (contract 4.3). */
export function readService(reader: YamlReader, field: Field): LocalService {
  const fields = reader.object(field, REQUIRED, OPTIONAL);
  const service: Service = {
    name: reader.text(fields.name),
    namespace: reader.text(fields.namespace),
    hostname: reader.text(fields.hostname),
    vips: readNetworkAddresses(reader, fields.vips),
    cidrVips: reader.list(fields.cidrVips).flatMap((item) => readCidrVip(reader, item) ?? []),
    ports: readPorts(reader, fields.ports),
    subjectAltNames: readTexts(reader, fields.subjectAltNames),
    waypoint: readGateway(reader, fields.waypoint),
    weightedWaypoints: reader
      .list(fields.weightedWaypoints)
      .flatMap((item) => readWeightedWaypoint(reader, item) ?? []),
    loadBalancer: readLoadBalancer(reader, fields.loadBalancer),
    ipFamilies: reader.isAbsent(fields.ipFamilies)
      ? undefined
      : reader.choice<IpFamilies>(fields.ipFamilies, ['Dual', 'IPv4', 'IPv6'], 'Dual'),
    canonical: reader.flag(fields.canonical),
    visibility: reader.choice(fields.visibility, ['Public', 'Namespace'], 'Public'),
    ...(reader.isAbsent(fields.httpPorts)
      ? {}
      : { httpPorts: new Set(reader.list(fields.httpPorts).map((item) => reader.number(item, 65535))) }),
  };
  const endpoints = reader.map(fields.endpoints).map(([, item]) => readEndpoint(reader, item));
  return { service, endpoints };
}

function readCidrVip(reader: YamlReader, field: Field): NetworkCidr | undefined {
  const fields = reader.object(field, ['network', 'cidr'], []);
  const cidr = fields.cidr && reader.parsed(fields.cidr, '"address/prefix length"', canonicalCidr);
  return cidr === undefined ? undefined : { network: reader.text(fields.network), cidr };
}

function readEndpoint(reader: YamlReader, field: Field): Endpoint {
  const fields = reader.object(field, ['workloadUid', 'port'], ['status']);
  return {
    workloadUid: reader.text(fields.workloadUid),
    ports: readPorts(reader, fields.port),
    status: reader.choice(fields.status, ['Healthy', 'Unhealthy'], 'Healthy'),
  };
}

function readWeightedWaypoint(reader: YamlReader, field: Field): WeightedWaypoint | undefined {
  const fields = reader.object(field, ['destination', 'weight'], []);
  const destination = readGateway(reader, fields.destination);
  const weight = reader.number(fields.weight, MAXIMUM_WEIGHT);
  return destination === undefined ? undefined : { destination, weight };
}

function readLoadBalancer(reader: YamlReader, field: Field | undefined): LoadBalancer | undefined {
  if (reader.isAbsent(field)) return undefined;
  const fields = reader.object(field, ['routingPreferences', 'mode', 'healthPolicy'], []);
  return {
    routingPreferences: reader
      .list(fields.routingPreferences)
      .map((item) => reader.choice(item, SCOPES, 'Region')),
    mode: reader.choice(fields.mode, MODES, 'Standard'),
    healthPolicy: reader.choice(fields.healthPolicy, HEALTH_POLICIES, 'OnlyHealthy'),
  };
}
