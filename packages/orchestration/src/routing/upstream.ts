import type { GatewayAddress, Service, Workload } from '@kmesh/api';
import { formatIdentityUri, identityUriOf, parseIdentity } from '../policy/identity.ts';
import { ipFamily } from '../state/ip.ts';
import type { MeshView } from '../state/mesh-view.ts';
import { type AddressChoice, chooseAddress } from './address-choice.ts';
import { drawWeighted, eligibleCandidates } from './balance.ts';
import { candidatesOf, type LookupPurpose } from './candidates.ts';
import type { RouteTrace, SocketTarget } from './failure.ts';
import { bestServiceByVip, findByHostname } from './lookup.ts';

/** A chosen endpoint. */
export interface Upstream {
  readonly workload: Workload;
  readonly address: AddressChoice;
  readonly port: number;
  /** The service through which the endpoint was chosen; `undefined` when the workload itself was addressed. */
  readonly service: Service | undefined;
}

/** What every selection needs besides the mesh. */
export interface SelectionContext {
  readonly source: Workload;
  readonly random: () => number;
  readonly trace: RouteTrace | undefined;
  /** Uid of the endpoint that was chosen before, which is not drawn anew. */
  readonly pick?: string | undefined;
}

/** The endpoint for an address: that of the service there, else the workload there (contract 7.1, 7.3). */
export function selectByAddress(
  view: MeshView,
  context: SelectionContext,
  network: string,
  target: SocketTarget,
  purpose: LookupPurpose,
): Upstream | undefined {
  const service = bestServiceByVip(view, network, target.ip, context.source.namespace);
  if (service !== undefined) {
    return selectFromService(view, context, service, target.port, target.ip, purpose);
  }
  const workload = view.workloadByAddress(network, target.ip);
  return workload === undefined ? undefined : addressed(context, workload, target.port, target.ip);
}

/** An endpoint of a service, by load-balancing mode and weight (contract 7.3, 7.4). */
function selectFromService(
  view: MeshView,
  context: SelectionContext,
  service: Service,
  port: number,
  familyOf: string,
  purpose: LookupPurpose,
): Upstream | undefined {
  const candidates = candidatesOf(view, service, {
    port,
    preferredFamily: ipFamily(familyOf),
    source: context.source,
    requestedIp: familyOf,
    purpose,
  });
  const eligible = eligibleCandidates(candidates, service.loadBalancer, context.source);
  const picked = eligible.find(({ workload, weight }) => workload.uid === context.pick && weight > 0);
  const chosen = picked ?? drawWeighted(eligible, context.random);
  context.trace?.push(
    `service ${service.namespace}/${service.hostname} port ${port}: ${candidates.length} candidates, ` +
      `${eligible.length} after mode ${service.loadBalancer?.mode ?? 'Standard'}, ` +
      `chose ${chosen === undefined ? 'none' : chosen.workload.uid}`,
  );
  if (chosen === undefined) return undefined;
  return { workload: chosen.workload, address: chosen.address, port: chosen.targetPort, service };
}

/**
 * The endpoint behind a waypoint or network gateway reference (contract 6.9, 7.2). A reference by IP keeps the
 * family of that IP, one by hostname takes that of the call.
 */
export function selectGateway(
  view: MeshView,
  context: SelectionContext,
  gateway: GatewayAddress,
  callIp: string,
  purpose: LookupPurpose,
): Upstream | undefined {
  const { destination, hboneMtlsPort } = gateway;
  if (destination.kind === 'address') {
    const target = { ip: destination.ip, port: hboneMtlsPort };
    return selectByAddress(view, context, destination.network, target, purpose);
  }
  const found = findByHostname(view, destination.namespace, destination.hostname);
  if (found === undefined) return undefined;
  return found.kind === 'service'
    ? selectFromService(view, context, found.service, hboneMtlsPort, callIp, purpose)
    : addressed(context, found.workload, hboneMtlsPort, callIp);
}

/** SPIFFE ids of the workload and of the service's alternative names that parse (conformance OUT-31). */
export function acceptedIdentities(upstream: Pick<Upstream, 'workload' | 'service'>): string[] {
  return [...new Set([...serviceIdentities(upstream.service), identityUriOf(upstream.workload)])];
}

/** The SPIFFE ids among a service's subject alternative names; others are skipped. */
export function serviceIdentities(service: Service | undefined): string[] {
  const identities: string[] = [];
  for (const name of service?.subjectAltNames ?? []) {
    const identity = parseIdentity(name);
    if (identity !== undefined) identities.push(formatIdentityUri(identity));
  }
  return identities;
}

function addressed(
  context: SelectionContext,
  workload: Workload,
  port: number,
  ip: string,
): Upstream | undefined {
  const address = chooseAddress(workload, {
    requestedIp: ip,
    preferredFamily: ipFamily(ip),
    ipFamilies: undefined,
    network: context.source.network,
  });
  return address === undefined ? undefined : { workload, address, port, service: undefined };
}
