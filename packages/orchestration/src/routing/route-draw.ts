import { ipFamily } from '../state/ip.ts';
import { serviceKey } from '../state/mesh-state.ts';
import { drawWeighted, eligibleCandidates, type LocalitySource } from './balance.ts';
import type { ResolvedBackend } from './route.ts';
import type { SelectionContext } from './upstream.ts';
import { type Candidate, candidatesOf } from './upstream.ts';
import { serviceWaypoints } from './waypoint.ts';

/** No uid has this prefix: a uid begins with a cluster, a network or a kind. */
const pickPrefix = 'route-backend:';

/**
 * Formats the choice for a routed connection if a workload uid does not identify it: a backend whose share is refused
 * or goes through a waypoint, or one of several backends that the workload serves.
 */
export function formatRoutePick(backend: ResolvedBackend, workloadUid: string): string {
  return `${pickPrefix}${backendName(backend)} ${workloadUid}`;
}

/** Returns whether a choice was formatted by {@link formatRoutePick}. */
export function isRoutePick(pick: string): boolean {
  return pick.startsWith(pickPrefix);
}

function backendName({ hostname, target }: ResolvedBackend): string {
  return target === undefined ? `/${hostname}` : `${serviceKey(target.service)}:${target.port}`;
}

/** A backend, and its endpoint if both were chosen together. */
interface DrawnBackend {
  readonly backend: ResolvedBackend | undefined;
  readonly workloadUid: string | undefined;
}

/**
 * Draws a backend by weight, unless one was drawn before: a connection is split once, by the first layer that sees it.
 *
 * @param ip the dialled address
 */
export function drawBackend(
  context: SelectionContext,
  backends: readonly ResolvedBackend[],
  ip: string,
): DrawnBackend {
  const { pick } = context;
  if (pick !== undefined) {
    const picked = isRoutePick(pick)
      ? backends.find((backend) => pick.startsWith(`${pickPrefix}${backendName(backend)} `))
      : backends.find((backend) =>
          backendEndpoints(context.view, backend, context.source, ipFamily(ip)).some(
            ({ workload, weight }) => workload.uid === pick && weight > 0,
          ),
        );
    if (picked !== undefined) {
      const uid = isRoutePick(pick) ? pick.slice(pick.indexOf(' ') + 1) : pick;
      return { backend: picked, workloadUid: uid === '' ? undefined : uid };
    }
  }
  return { backend: drawWeighted(backends, context.random), workloadUid: undefined };
}

/**
 * Returns the endpoints that a backend's share is spread over; none if a waypoint chooses them or the share is refused.
 */
export function backendEndpoints(
  view: SelectionContext['view'],
  { target }: ResolvedBackend,
  source: LocalitySource,
  family: 4 | 6,
): readonly Candidate[] {
  if (target === undefined || serviceWaypoints(target.service).length > 0) return [];
  const { service, port } = target;
  const candidates = candidatesOf(view, service, { port, preferredFamily: family, source });
  return eligibleCandidates(candidates, service.loadBalancer, source);
}

/** Formats backends with their shares, in percent. */
export function describeBackends(backends: readonly ResolvedBackend[]): string {
  const sum = backends.reduce((total, { weight }) => total + weight, 0);
  const shares = backends.map((backend) => {
    const name = backend.target === undefined ? backend.hostname || '(none)' : backendName(backend);
    const problem = backend.problem === undefined ? '' : `, refused: ${backend.problem}`;
    return `${name} ${Math.round((backend.weight / sum) * 1000) / 10} %${problem}`;
  });
  return shares.join(', ') || 'no backend has a weight: every connection is refused';
}
