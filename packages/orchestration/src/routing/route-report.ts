import type { Route, Service } from '@kmesh/api';
import { type MeshState, routeKey, serviceKey } from '../state/mesh-state.ts';
import { GENERIC_NAMESPACE, type RoutingView, routeOf } from './route.ts';

/** One backend's share of the connections to one port of a service, as the route requests it. */
interface RouteShare {
  readonly service: Service;
  readonly port: number;
  /** Host name; empty if the control plane permits none. */
  readonly backend: string;
  /** 0 to 1. */
  readonly share: number;
  /** Why the share is refused; `undefined` if it is served. */
  readonly problem: string | undefined;
}

/** How a route is applied. */
interface RouteReport {
  readonly shares: readonly RouteShare[];
  /** Why it is not applied, or not everywhere; empty if it is. */
  readonly problems: readonly string[];
}

/** Returns the report of every route, except routes only for gateways. */
export function reportRoutes(
  view: RoutingView & Pick<MeshState, 'routes'>,
): (RouteReport & { readonly route: string })[] {
  return [...view.routes()]
    .filter(({ hosts }) => hosts.length > 0)
    .map((route) => ({ route: routeKey(route), ...reportRoute(view, route) }));
}

/** Returns the shares of a route, and why it is not applied if it is not (docs/routes.md). */
export function reportRoute(view: RoutingView, route: Route): RouteReport {
  if (route.unsupported !== undefined) {
    return { shares: [], problems: [`${route.unsupported}: needs a waypoint`] };
  }
  const shares: RouteShare[] = [];
  const problems = new Set<string>();
  for (const hostname of route.hosts) {
    const services = view.servicesByHostname(hostname);
    if (services.length === 0) problems.add(`service ${hostname} is not known`);
    for (const service of services) reportService(view, route, service, { shares, problems });
  }
  if (shares.length === 0 && problems.size === 0) problems.add('no rule applies to a port of its services');
  return { shares, problems: [...problems] };
}

function reportService(
  view: RoutingView,
  route: Route,
  service: Service,
  { shares, problems }: { readonly shares: RouteShare[]; readonly problems: Set<string> },
): void {
  for (const port of service.ports.keys()) {
    let problem: string | undefined;
    for (const clientNamespace of clientsOf(route)) {
      const decision = routeOf(view, { service, port, clientNamespace });
      if (decision === undefined) continue;
      if (decision.route !== route) {
        problem ??= `${serviceKey(service)}:${port}: route ${routeKey(decision.route)} comes first`;
        continue;
      }
      if (decision.kind === 'notApplied') {
        problem ??= `${serviceKey(service)}:${port}: ${decision.reason}`;
        continue;
      }
      const sum = decision.backends.reduce((total, { weight }) => total + weight, 0);
      for (const { hostname, weight, problem: refused } of decision.backends) {
        shares.push({ service, port, backend: hostname, share: weight / sum, problem: refused });
      }
      if (decision.backends.length === 0) {
        problem ??= `${serviceKey(service)}:${port}: no backend has a weight: every connection is refused`;
      } else problem = undefined;
      break;
    }
    if (problem !== undefined) problems.add(problem);
  }
}

/** Returns the namespaces of clients that a route may apply to, the most general first. */
function clientsOf(route: Route): ReadonlySet<string> {
  const rules = [...(route.tcp ?? []), ...(route.http ?? [])];
  const named = rules.flatMap(({ matches }) =>
    matches.flatMap(({ sourceNamespace }) => sourceNamespace ?? []),
  );
  return new Set([GENERIC_NAMESPACE, route.namespace, ...route.exportTo, ...named]);
}
