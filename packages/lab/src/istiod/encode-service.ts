import { type LoadBalancer, type Service, workloadProto } from '@kmesh/api';
import { ipBytes } from '../pki/ip-bytes.ts';
import { encodeGateway, encodePorts } from './encode-workload.ts';

const scopeNumbers = { Region: 1, Zone: 2, Subzone: 3, Node: 4, Cluster: 5, Network: 6 } as const;
const modeNumbers = { Standard: 0, Strict: 1, Failover: 2, Passthrough: 3 } as const;
const familyNumbers = { IPv4: 1, IPv6: 2, Dual: 3 } as const;

function encodeLoadBalancing(loadBalancer: LoadBalancer): workloadProto.LoadBalancing {
  return {
    routingPreference: loadBalancer.routingPreferences.map((scope) => scopeNumbers[scope]),
    mode: modeNumbers[loadBalancer.mode],
    healthPolicy: loadBalancer.healthPolicy === 'AllowAll' ? 1 : 0,
  };
}

function encodeCidr(network: string, cidr: string): workloadProto.NetworkAddress {
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
      ...service.cidrVips.map(({ network, cidr }) => encodeCidr(network, cidr)),
    ],
    ports: encodePorts(service.ports),
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
