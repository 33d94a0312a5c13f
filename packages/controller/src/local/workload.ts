import type { ApplicationTunnel, Locality, PortMap, Workload, WorkloadType } from '@kmesh/api';
import type { Field, YamlReader } from './yaml-reader.ts';
import { parseKey, readGateway, readIps, readPorts, readTexts } from './yaml-reader.ts';

const REQUIRED = ['workloadIps', 'namespace', 'services'] as const;
const OPTIONAL = [
  'uid',
  'name',
  'serviceAccount',
  'trustDomain',
  'protocol',
  'networkMode',
  'network',
  'node',
  'hostname',
  'waypoint',
  'networkGateway',
  'workloadName',
  'workloadType',
  'canonicalName',
  'canonicalRevision',
  'clusterId',
  'nativeTunnel',
  'applicationTunnel',
  'authorizationPolicies',
  'status',
  'locality',
  'capacity',
] as const;

const MAXIMUM_CAPACITY = 2 ** 32 - 1;
const WORKLOAD_TYPES: readonly WorkloadType[] = ['deployment', 'cronjob', 'pod', 'job'];

/** Reads one entry of `workloads` (contract 4.1). The uid is empty if the file has none. */
export function readWorkload(reader: YamlReader, field: Field): Workload {
  const fields = reader.object(field, REQUIRED, OPTIONAL);
  const type = reader.text(fields.workloadType);
  return {
    uid: reader.text(fields.uid),
    name: reader.text(fields.name),
    namespace: reader.text(fields.namespace),
    addresses: readIps(reader, fields.workloadIps),
    hostname: reader.text(fields.hostname),
    network: reader.text(fields.network),
    protocol: reader.choice(fields.protocol, ['TCP', 'HBONE'], 'TCP'),
    trustDomain: reader.text(fields.trustDomain),
    serviceAccount: reader.text(fields.serviceAccount),
    waypoint: readGateway(reader, fields.waypoint),
    networkGateway: readGateway(reader, fields.networkGateway),
    node: reader.text(fields.node),
    canonicalName: reader.text(fields.canonicalName),
    canonicalRevision: reader.text(fields.canonicalRevision),
    workloadType: WORKLOAD_TYPES.find((known) => known === type.toLowerCase()) ?? (type || 'deployment'),
    workloadName: reader.text(fields.workloadName),
    nativeTunnel: reader.flag(fields.nativeTunnel),
    applicationTunnel: readApplicationTunnel(reader, fields.applicationTunnel),
    services: readServices(reader, fields.services),
    authorizationPolicies: readTexts(reader, fields.authorizationPolicies),
    status: reader.choice(fields.status, ['Healthy', 'Unhealthy'], 'Healthy'),
    clusterId: reader.text(fields.clusterId),
    locality: readLocality(reader, fields.locality),
    networkMode: reader.choice(fields.networkMode, ['Standard', 'HostNetwork'], 'Standard'),
    capacity: reader.number(fields.capacity, MAXIMUM_CAPACITY, 1),
  };
}

function readServices(reader: YamlReader, field: Field | undefined): Map<string, PortMap> {
  const services = new Map<string, PortMap>();
  for (const [key, ports] of reader.map(field)) {
    if (parseKey(key) === undefined) {
      reader.problem(
        ports,
        `a key of the form "namespace/hostname" (the key here is ${JSON.stringify(key)})`,
      );
    }
    services.set(key, readPorts(reader, ports));
  }
  return services;
}

function readApplicationTunnel(reader: YamlReader, field: Field | undefined): ApplicationTunnel | undefined {
  if (reader.isAbsent(field)) return undefined;
  const fields = reader.object(field, ['protocol'], ['port']);
  const port = reader.isAbsent(fields.port) ? 0 : reader.number(fields.port, 65535);
  return {
    protocol: reader.choice(fields.protocol, ['NONE', 'PROXY'], 'NONE'),
    port: port === 0 ? undefined : port,
  };
}

function readLocality(reader: YamlReader, field: Field | undefined): Locality {
  if (reader.isAbsent(field)) return { region: '', zone: '', subzone: '' };
  const fields = reader.object(field, ['region', 'zone', 'subzone'], []);
  return {
    region: reader.text(fields.region),
    zone: reader.text(fields.zone),
    subzone: reader.text(fields.subzone),
  };
}
