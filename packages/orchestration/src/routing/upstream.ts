import type { GatewayAddress, Service, Workload } from '@kmesh/api';
import { formatIdentityUri, identityUriOf, parseIdentity } from '../policy/identity.ts';
import { ipFamily } from '../state/ip.ts';
import type { MeshView } from '../state/mesh-view.ts';
import { drawWeighted, eligibleCandidates } from './balance.ts';
import { type AddressChoice, candidatesOf, chooseAddress, type LookupPurpose } from './candidates.ts';
import type { RouteTrace, SocketTarget } from './decision.ts';
import { bestServiceByVip, findByHostname } from './lookup.ts';

/** A chosen endpoint. */
export interface Upstream {
  readonly workload: Workload;
  readonly address: AddressChoice;
  readonly port: number;
  /** The service through which the endpoint was chosen; `undefined` when the workload itself was addressed. */
  readonly service: Service | undefined;
}

/** What every selection of one connection shares. */
export interface SelectionContext {
  readonly view: MeshView;
  readonly source: Workload;
  readonly random: () => number;
  readonly trace: RouteTrace | undefined;
  /** Uid of the endpoint that was chosen before, which is not drawn anew. */
  readonly pick?: string | undefined;
}

/** An address on a network, and why it is looked up. */
interface AddressSelection {
  readonly network: string;
  readonly target: SocketTarget;
  readonly purpose: LookupPurpose;
}

/**
 * Selects the endpoint for an address: one of the service there, else the workload there (docs/contract.md 7.1, 7.3).
 * Returns `undefined` when nothing at the address can be used.
 */
export function selectByAddress(
  context: SelectionContext,
  { network, target, purpose }: AddressSelection,
): Upstream | undefined {
  const service = bestServiceByVip(context.view, network, target.ip, context.source.namespace);
  if (service !== undefined) return selectFromService(context, service, { target, purpose });
  const workload = context.view.workloadByAddress(network, target.ip);
  return workload === undefined ? undefined : addressed(context, workload, target);
}

/**
 * Selects an endpoint of a service by load-balancing mode and weight (docs/contract.md 7.3, 7.4). The IP of `target`
 * sets the address family and wins where it is an endpoint's own.
 */
export function selectFromService(
  context: SelectionContext,
  service: Service,
  { target, purpose }: Omit<AddressSelection, 'network'>,
): Upstream | undefined {
  const { ip, port } = target;
  const candidates = candidatesOf(context.view, service, {
    port,
    preferredFamily: ipFamily(ip),
    source: context.source,
    requestedIp: ip,
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

/** A waypoint or network gateway reference, and the call that leads there. */
interface GatewaySelection {
  readonly gateway: GatewayAddress;
  readonly callIp: string;
  readonly purpose: LookupPurpose;
}

/**
 * Selects the endpoint behind a waypoint or network gateway reference (docs/contract.md 6.9, 7.2). A reference by IP
 * keeps the family of that IP, a reference by hostname takes the family of the call.
 */
export function selectGateway(
  context: SelectionContext,
  { gateway, callIp, purpose }: GatewaySelection,
): Upstream | undefined {
  const { destination, hboneMtlsPort: port } = gateway;
  if (destination.kind === 'address') {
    const target = { ip: destination.ip, port };
    return selectByAddress(context, { network: destination.network, target, purpose });
  }
  const found = findByHostname(context.view, destination.namespace, destination.hostname);
  if (found === undefined) return undefined;
  const target = { ip: callIp, port };
  return found.kind === 'service'
    ? selectFromService(context, found.service, { target, purpose })
    : addressed(context, found.workload, target);
}

/**
 * Returns the SPIFFE ids that a server may have: the workload's, and the service's alternative names that parse
 * (conformance OUT-31).
 */
export function acceptedIdentities(upstream: Pick<Upstream, 'workload' | 'service'>): string[] {
  return [...new Set([...serviceIdentities(upstream.service), identityUriOf(upstream.workload)])];
}

/** Returns the SPIFFE ids among a service's subject alternative names; skips other names. */
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
  { ip, port }: SocketTarget,
): Upstream | undefined {
  const address = chooseAddress(workload, {
    requestedIp: ip,
    preferredFamily: ipFamily(ip),
    ipFamilies: undefined,
    network: context.source.network,
  });
  return address === undefined ? undefined : { workload, address, port, service: undefined };
}
