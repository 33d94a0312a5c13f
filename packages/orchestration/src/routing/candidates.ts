import type { ApplicationTunnel, PortMap, Service, Workload } from '@kmesh/api';
import type { MeshView } from '../state/mesh-view.ts';
import { type AddressChoice, chooseAddress } from './address-choice.ts';
import type { LocalitySource } from './locality.ts';

/** Who looks for an endpoint: an ordinary call, or the way to a waypoint (contract 7.3). */
export type LookupPurpose = 'call' | 'waypoint';

/** One endpoint of a service that a call could go to. */
export interface Candidate {
  readonly workload: Workload;
  readonly address: AddressChoice;
  readonly targetPort: number;
  /** Relative weight; 0 is never chosen. */
  readonly weight: number;
}

/** One question for {@link candidatesOf}. */
interface CandidateRequest {
  /** Service port. */
  readonly port: number;
  /** Family that the client dialled. */
  readonly preferredFamily: 4 | 6;
  readonly source: Pick<LocalitySource, 'network'>;
  /** The IP that was dialled; matters only where it may be an endpoint's own. */
  readonly requestedIp?: string | undefined;
  /** `call` by default. */
  readonly purpose?: LookupPurpose;
}

/**
 * Every endpoint that could take the call, whatever the load-balancing mode and weight: its workload is known, it
 * has an address to use, and the port leads somewhere (contract 7.3). Empty for PASSTHROUGH services and ports that
 * the service does not declare. In the order of the service's endpoints.
 */
export function candidatesOf(
  view: Pick<MeshView, 'workload' | 'endpoints'>,
  service: Service,
  request: CandidateRequest,
): Candidate[] {
  const candidates: Candidate[] = [];
  const purpose = request.purpose ?? 'call';
  if (service.loadBalancer?.mode === 'Passthrough') return candidates;
  if (purpose === 'call' && !service.ports.has(request.port)) return candidates;
  const addressRequest = {
    requestedIp: request.requestedIp,
    preferredFamily: request.preferredFamily,
    ipFamilies: service.ipFamilies,
    network: request.source.network,
  };
  for (const endpoint of view.endpoints(`${service.namespace}/${service.hostname}`).values()) {
    const workload = view.workload(endpoint.workloadUid);
    if (workload === undefined) continue;
    const targetPort = targetPortOf(
      service.ports,
      endpoint.ports,
      workload.applicationTunnel,
      request.port,
      purpose,
    );
    if (targetPort === undefined) continue;
    const address = chooseAddress(workload, addressRequest);
    if (address === undefined) continue;
    candidates.push({ workload, address, targetPort, weight: workload.capacity });
  }
  return candidates;
}

/**
 * Target port of one endpoint for a service port: what the endpoint maps, else what the service maps, else, on the
 * way to a waypoint whose application tunnel has a port, the requested port (contract 7.3). `undefined` when the
 * port leads nowhere.
 */
export function targetPortOf(
  servicePorts: PortMap,
  endpointPorts: PortMap,
  applicationTunnel: ApplicationTunnel | undefined,
  port: number,
  purpose: LookupPurpose = 'call',
): number | undefined {
  const servicePort = servicePorts.get(port);
  const reachable = servicePort !== undefined || (purpose === 'waypoint' && applicationTunnel !== undefined);
  if (!reachable) return undefined;
  const mapped = endpointPorts.get(port);
  if (mapped !== undefined) return mapped;
  if (servicePort !== undefined && servicePort > 0) return servicePort;
  return purpose === 'waypoint' && applicationTunnel?.port !== undefined ? port : undefined;
}
