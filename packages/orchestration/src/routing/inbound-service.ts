import type { Service, Workload } from '@kmesh/api';
import { serviceKey } from '../state/mesh-state.ts';
import type { MeshView, NodeContext } from '../state/mesh-view.ts';
import { type HeaderValue, headerLines } from './headers/header-value.ts';

/** The known services that a workload belongs to. */
export function servicesOfWorkload(view: Pick<MeshView, 'service'>, workload: Workload): Service[] {
  const services: Service[] = [];
  for (const key of workload.services.keys()) {
    const service = view.service(key);
    if (service !== undefined) services.push(service);
  }
  return services;
}

/**
 * The service that inbound telemetry names (contract 7.7): the candidate with the host name that the client
 * forwarded, else the first with a target port or an endpoint mapping equal to the destination port.
 */
export function inboundService(
  workload: Workload,
  candidates: readonly Service[],
  port: number,
  forwardedHostname: string | undefined,
): Service | undefined {
  if (forwardedHostname !== undefined) {
    const named = candidates.find(({ hostname }) => hostname === forwardedHostname);
    if (named !== undefined) return named;
  }
  return candidates.find((service) => {
    const mapped = workload.services.get(serviceKey(service));
    return hasValue(service.ports, port) || (mapped !== undefined && hasValue(mapped, port));
  });
}

/**
 * The client's workload for inbound telemetry (contract 6.6): the one at the peer's IP on the own network, unless the
 * client says that it is on another one. Never used for authorization.
 */
export function inboundSourceWorkload(
  view: Pick<MeshView, 'workloadByAddress'>,
  node: Pick<NodeContext, 'network'>,
  peerIp: string,
  forwardedNetwork: HeaderValue,
): Workload | undefined {
  const [network] = headerLines(forwardedNetwork);
  if (network !== undefined && network.toLowerCase() !== node.network.toLowerCase()) return undefined;
  return view.workloadByAddress(node.network, peerIp);
}

function hasValue(ports: ReadonlyMap<number, number>, port: number): boolean {
  for (const target of ports.values()) if (target === port) return true;
  return false;
}
