import type { Workload } from '@kmesh/api';
import {
  bestServiceByCidr,
  bestServiceByVip,
  type MeshView,
  type ResolvedBackend,
  resolveOutbound,
  routeOf,
} from '@kmesh/orchestration';

/** Outcomes that orchestration allows for one original destination. */
export interface ExpectedOutcome {
  /** `ip|port` of plain TCP, with the share of the draws. */
  readonly direct: ReadonlyMap<string, number>;
  /** Some draws need the tunnel: the kernel path keeps the dialled address for them. */
  readonly tunnel: boolean;
  /** The connection must fail with ECONNREFUSED. */
  readonly refused: boolean;
  /** The tables cannot express the decision exactly, so the tunnel path may decide instead. */
  readonly mayTunnel: boolean;
}

/** One possible draw for a connection, with its share. */
interface Draw {
  readonly random: () => number;
  readonly share: number;
}

/** Every possible draw of a connection: each backend of an applied route, and each of its endpoints. */
export function drawsOf(view: MeshView, source: Workload, ip: string, port: number): readonly Draw[] {
  const backends = routeAt(view, source, ip, port);
  const draws = (first: readonly number[], share: number): Draw[] =>
    Array.from({ length: DRAWS }, (_, draw) => {
      const values = [...first, (draw + 0.5) / DRAWS];
      // Later draws repeat the last value.
      return { random: () => (values.length > 1 ? values.shift() : values[0]) ?? 0, share: share / DRAWS };
    });
  const sum = backends?.reduce((total, { weight }) => total + weight, 0) ?? 0;
  // If one backend has all the weight there is no draw.
  if (backends === undefined || sum === 0 || backends[0]?.weight === sum) return draws([], 1);
  let below = 0;
  return backends.flatMap(({ weight }) => {
    const middle = (below + weight / 2) / sum;
    below += weight;
    return draws([middle], weight / sum);
  });
}

/** Returns the backends of the route that applies to a dial, if any. */
function routeAt(
  view: MeshView,
  source: Workload,
  ip: string,
  port: number,
): readonly ResolvedBackend[] | undefined {
  const { network, namespace: clientNamespace } = source;
  const service =
    bestServiceByVip(view, network, ip, clientNamespace) ??
    (view.workloadByAddress(network, ip) === undefined
      ? bestServiceByCidr(view, network, ip, clientNamespace)
      : undefined);
  const decision = service && routeOf(view, { service, port, clientNamespace });
  return decision?.kind === 'applied' ? decision.backends : undefined;
}

/** Number of draws per target: more than the sum of any service's weights, so that no endpoint is missed. */
const DRAWS = 128;

/** Returns all outcomes of `resolveOutbound` for a dial, by trying every draw. */
export function expectedOutcome(view: MeshView, source: Workload, ip: string, port: number): ExpectedOutcome {
  const direct = new Map<string, number>();
  let tunnel = false;
  let refused = false;
  let served = false;
  for (const { random, share } of drawsOf(view, source, ip, port)) {
    const decision = resolveOutbound(
      view,
      { source, clientIp: source.addresses[0] ?? '', destination: { ip, port } },
      { random },
    );
    served ||= decision.kind !== 'refused';
    if (decision.kind === 'tcp') {
      const key = `${decision.nextHop.ip}|${decision.nextHop.port}`;
      // An endpoint of the other family cannot be dialled by this socket.
      if (decision.nextHop.ip.includes(':') !== ip.includes(':')) tunnel = true;
      else direct.set(key, (direct.get(key) ?? 0) + share);
    } else if (decision.kind === 'refused' && decision.category === 'NoHealthyUpstream') {
      refused = true;
    } else {
      // HBONE, a gateway, a host name to resolve, or a refusal that the tunnel path explains.
      tunnel = true;
    }
  }
  // If only some backends refuse, the tunnel path refuses their share.
  if (refused && served) tunnel = true;
  const backends = routeAt(view, source, ip, port) ?? [];
  return { direct, tunnel, refused, mayTunnel: isAmbiguous(view, source, ip) || isShared(view, backends) };
}

/** Returns whether a workload is behind two backends: only the tunnel path decides which of them serves. */
function isShared(view: MeshView, backends: readonly ResolvedBackend[]): boolean {
  const uids = backends.flatMap(({ target }) =>
    target === undefined
      ? []
      : [...view.endpoints(`${target.service.namespace}/${target.service.hostname}`).keys()],
  );
  return new Set(uids).size < uids.length;
}

/**
 * The cases in which the kernel is uncertain and a connection takes the tunnel path although plain TCP would suffice.
 */
function isAmbiguous(view: MeshView, source: Workload, ip: string): boolean {
  const owner = view.workloadByAddress(source.network, ip);
  const exact = view.servicesByVip(source.network, ip);
  const covering = view.servicesByCidr(source.network, ip).map(({ service }) => service);
  if (owner !== undefined) return owner.waypoint !== undefined || exact.length + covering.length > 0;
  // The one table of a range cannot express routes that apply to one namespace and not to another.
  if (exact.length === 0 && covering.some(({ hostname }) => view.routesOf(hostname).length > 0)) return true;
  for (const service of [...exact, ...covering]) {
    for (const uid of view.endpoints(`${service.namespace}/${service.hostname}`).keys()) {
      for (const address of view.workload(uid)?.addresses ?? []) {
        if (
          address === ip ||
          view.servicesByCidr(source.network, address).some((entry) => entry.service === service)
        ) {
          return true;
        }
      }
    }
  }
  return false;
}
