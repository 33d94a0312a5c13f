import type { Route, RouteBackend, RouteRule, Service, Workload } from '@kmesh/api';
import { routeKey, serviceKey } from '../state/mesh-state.ts';
import type { MeshView } from '../state/mesh-view.ts';
import type { RouteUse } from './decision.ts';
import { bestServiceByHostname } from './lookup.ts';
import { serviceWaypoints } from './waypoint.ts';

/** A namespace that cannot exist: it represents every namespace without services or routes of its own. */
export const GENERIC_NAMESPACE = '\0';

/** A backend in the current mesh state. */
export interface ResolvedBackend {
  readonly hostname: string;
  /** Relative weight, above 0. */
  readonly weight: number;
  /** Destination of its share; `undefined` if its share is refused. */
  readonly target: { readonly service: Service; readonly port: number } | undefined;
  /** Why its share is refused. */
  readonly problem: string | undefined;
}

/** The decision of the routes about one connection. */
type RouteDecision =
  | {
      readonly kind: 'applied';
      readonly route: Route;
      /** Backends with a weight above 0; if there are none, every connection is refused. */
      readonly backends: readonly ResolvedBackend[];
    }
  /** A route exists but is not applied: the connection is served as without it. */
  | { readonly kind: 'notApplied'; readonly route: Route; readonly reason: string };

/** The properties of a connection that routes depend on. */
interface RoutedCall {
  readonly service: Service;
  readonly port: number;
  readonly clientNamespace: string;
}

/** The lookups that route decisions need. */
export type RoutingView = Pick<MeshView, 'routesOf' | 'routesHttpByConnection' | 'servicesByHostname'>;

/**
 * Returns the decision of the routes about a connection, or `undefined` if none applies to it (docs/routes.md). A route
 * with a feature that a split of connections cannot express is not applied at all; routes of a service with a waypoint
 * are left to the waypoint.
 */
export function routeOf(view: RoutingView, call: RoutedCall): RouteDecision | undefined {
  const { service, port } = call;
  const routes = view.routesOf(service.hostname);
  // An undeclared port has no endpoint, with or without a route.
  if (routes.length === 0 || !service.ports.has(port)) return undefined;
  const isHttp = service.httpPorts?.has(port) ?? false;
  let otherwise: RouteDecision | undefined;
  for (const route of inOrder(routes, call)) {
    const rules = isHttp ? route.http : route.tcp;
    if (rules === undefined) {
      if ((isHttp ? route.tcp : route.http) !== undefined) otherwise ??= forOtherPorts(route, port, isHttp);
      continue;
    }
    const decision = decide(view, call, { route, rules, isHttp });
    if (decision !== undefined) return decision;
  }
  return otherwise;
}

interface CandidateRoute {
  readonly route: Route;
  readonly rules: readonly RouteRule[];
  readonly isHttp: boolean;
}

/** Returns the decision of a route with rules for the port's protocol; `undefined` if no rule applies. */
function decide(
  view: RoutingView,
  call: RoutedCall,
  { route, rules, isHttp }: CandidateRoute,
): RouteDecision | undefined {
  const { service, port, clientNamespace } = call;
  const reject = (reason: string): RouteDecision => ({ kind: 'notApplied', route, reason });
  if (serviceWaypoints(service).length > 0)
    return reject('the service has a waypoint, which applies its routes');
  if (service.loadBalancer?.mode === 'Passthrough')
    return reject('the service is not balanced (PASSTHROUGH)');
  if (route.unsupported !== undefined) return reject(`${route.unsupported}: needs a waypoint`);
  const rule = rules.find((candidate) => concerns(candidate, port, clientNamespace));
  if (rule === undefined) return undefined;
  if (isHttp && !view.routesHttpByConnection) {
    return reject(
      'HTTP routes split requests: needs a waypoint, or KMESH_HTTP_ROUTES=by-connection to split connections',
    );
  }
  const backends = rule.backends
    .filter(({ weight }) => weight > 0)
    .map((backend) => resolveBackend(view, call, backend));
  return { kind: 'applied', route, backends };
}

function forOtherPorts(route: Route, port: number, isHttp: boolean): RouteDecision {
  const reason = isHttp
    ? `port ${port} is declared HTTP, and the route has rules for TCP only`
    : `port ${port} is not declared HTTP, and the route has rules for HTTP only`;
  return { kind: 'notApplied', route, reason };
}

/**
 * Yields the routes visible to a client: of its own namespace, then of the service's, then of others; each oldest
 * first.
 */
function* inOrder(
  routes: readonly Route[],
  { service, clientNamespace }: RoutedCall,
): Generator<Route, void, void> {
  for (let rank = 0; rank < 3; rank++) {
    for (const route of routes) {
      const own = route.namespace === clientNamespace ? 0 : route.namespace === service.namespace ? 1 : 2;
      if (own === rank && isVisible(route, service, clientNamespace)) yield route;
    }
  }
}

function isVisible(route: Route, service: Service, clientNamespace: string): boolean {
  const own = route.namespace === clientNamespace;
  if (route.isGatewayApi && route.namespace !== service.namespace && !own) return false;
  const { exportTo } = route;
  if (exportTo.length === 0 || exportTo.includes('*')) return true;
  return (own && exportTo.includes('.')) || exportTo.includes(clientNamespace);
}

function concerns({ matches }: RouteRule, port: number, clientNamespace: string): boolean {
  if (matches.length === 0) return true;
  return matches.some(
    (match) =>
      (match.port ?? port) === port && (match.sourceNamespace ?? clientNamespace) === clientNamespace,
  );
}

function resolveBackend(view: RoutingView, call: RoutedCall, backend: RouteBackend): ResolvedBackend {
  const { hostname, weight } = backend;
  const refused = (problem: string): ResolvedBackend => ({ hostname, weight, target: undefined, problem });
  if (hostname === '') return refused('the control plane does not permit it');
  const service =
    hostname === call.service.hostname
      ? call.service
      : bestServiceByHostname(view, hostname, call.clientNamespace);
  if (service === undefined) return refused('it is not known');
  const port = portOf(service, backend.port, call.port);
  if (port === undefined) return refused(`it has no port ${backend.port ?? call.port}`);
  return { hostname, weight, target: { service, port }, problem: undefined };
}

function portOf(service: Service, wanted: number | undefined, dialled: number): number | undefined {
  const port = wanted ?? dialled;
  if (service.ports.has(port)) return port;
  const [only] = service.ports.keys();
  return wanted === undefined && service.ports.size === 1 ? only : undefined;
}

/**
 * Returns a text that is equal for two client namespaces if and only if the routes decide the same for both, for every
 * port of the service. Empty without a route.
 */
export function routeSignature(view: RoutingView, service: Service, clientNamespace: string): string {
  if (view.routesOf(service.hostname).length === 0) return '';
  let signature = '';
  for (const port of service.ports.keys()) {
    const decision = routeOf(view, { service, port, clientNamespace });
    if (decision?.kind !== 'applied') continue;
    signature += `${port} ${routeKey(decision.route)}`;
    for (const { hostname, weight, target } of decision.backends) {
      signature += ` ${weight}*${target?.service.namespace ?? ''}/${hostname}:${target?.port ?? ''}`;
    }
    signature += '\n';
  }
  return signature;
}

/** Returns the route backend that a workload served a connection for, judged by the workload's services. */
export function routeUseOf(view: RoutingView, call: RoutedCall, server: Workload): RouteUse | undefined {
  const decision = routeOf(view, call);
  if (decision?.kind !== 'applied') return undefined;
  const backend = decision.backends.find(
    ({ target }) => target !== undefined && server.services.has(serviceKey(target.service)),
  );
  if (backend === undefined) return undefined;
  const { service, port } = call;
  return { route: routeKey(decision.route), service, port, backend: backend.hostname };
}

/** Returns the client namespaces for which the routes of a service may decide differently than for all others. */
export function routeNamespaces(view: RoutingView, service: Service): ReadonlySet<string> {
  const namespaces = new Set<string>();
  for (const route of view.routesOf(service.hostname)) {
    namespaces.add(route.namespace);
    for (const name of route.exportTo) if (name !== '*' && name !== '.') namespaces.add(name);
    for (const { matches, backends } of [...(route.tcp ?? []), ...(route.http ?? [])]) {
      for (const { sourceNamespace } of matches) {
        if (sourceNamespace !== undefined) namespaces.add(sourceNamespace);
      }
      for (const { hostname } of backends) {
        for (const backend of view.servicesByHostname(hostname)) namespaces.add(backend.namespace);
      }
    }
  }
  return namespaces;
}
