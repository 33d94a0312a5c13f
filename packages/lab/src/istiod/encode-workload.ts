import { type GatewayAddress, type PortMap, type Workload, workloadProto } from '@kmesh/api';
import { ipBytes } from '../pki/ip-bytes.ts';

const statusNumbers = { Healthy: 0, Unhealthy: 1 } as const;
const workloadTypeNumbers: Readonly<Record<string, number>> = { deployment: 0, cronjob: 1, pod: 2, job: 3 };

/** Port pairs, in the order of the map. */
export function encodePorts(ports: PortMap): workloadProto.Port[] {
  return [...ports].map(([servicePort, targetPort]) => ({ servicePort, targetPort }));
}

export function encodeGateway(gateway: GatewayAddress): workloadProto.GatewayAddress {
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
