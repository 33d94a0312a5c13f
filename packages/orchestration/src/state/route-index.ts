import type { Route } from '@kmesh/api';

const none: readonly never[] = [];

/** Routes by key, by the host names they apply to, and by the host names of their backends. */
export class RouteIndex {
  readonly #routes = new Map<string, Route>();
  readonly #byHost = new Map<string, readonly Route[]>();
  /** Hosts that begin with `*`, for services that no route names. Such routes are reported and never applied. */
  #wildcards: readonly string[] = [];
  /** Host name of a backend → routes that use it. */
  readonly #byBackend = new Map<string, Set<Route>>();

  get size(): number {
    return this.#routes.size;
  }

  values(): Iterable<Route> {
    return this.#routes.values();
  }

  /** Returns the routes for a host name: the oldest first, then by key. */
  of(hostname: string): readonly Route[] {
    const routes = this.#byHost.get(hostname);
    if (routes !== undefined || this.#wildcards.length === 0) return routes ?? none;
    const wildcard = this.#wildcards.find((host) => hostname.endsWith(host.slice(1)));
    return (wildcard === undefined ? undefined : this.#byHost.get(wildcard)) ?? none;
  }

  /** Yields the host names whose routes have `hostname` as a backend. */
  *leadingTo(hostname: string): Generator<string> {
    for (const route of this.#byBackend.get(hostname) ?? none) yield* route.hosts;
  }

  /** Replaces or removes a route. Returns the host names that it applied or applies to. */
  replace(key: string, next: Route | undefined): ReadonlySet<string> {
    const previous = this.#routes.get(key);
    const hosts = new Set([...(previous?.hosts ?? none), ...(next?.hosts ?? none)]);
    if (previous !== undefined) for (const host of backendsOf(previous)) this.#forgetBackend(host, previous);
    if (next === undefined) this.#routes.delete(key);
    else this.#routes.set(key, next);
    for (const host of next === undefined ? none : backendsOf(next)) {
      const routes = this.#byBackend.get(host) ?? new Set();
      this.#byBackend.set(host, routes.add(next as Route));
    }
    for (const host of hosts) {
      const routes = (this.#byHost.get(host) ?? none).filter((route) => route !== previous);
      if (next?.hosts.includes(host)) routes.push(next);
      if (routes.length === 0) this.#byHost.delete(host);
      else this.#byHost.set(host, routes.sort(byAge));
      if (host.startsWith('*')) this.#indexWildcards();
    }
    return hosts;
  }

  /** Sorts wildcards: the longest, and thus most specific, first. */
  #indexWildcards(): void {
    const hosts = [...this.#byHost.keys()].filter((host) => host.startsWith('*'));
    this.#wildcards = hosts.sort((left, right) => right.length - left.length);
  }

  #forgetBackend(host: string, route: Route): void {
    const routes = this.#byBackend.get(host);
    routes?.delete(route);
    if (routes?.size === 0) this.#byBackend.delete(host);
  }
}

function byAge(left: Route, right: Route): number {
  if (left.createdAt !== right.createdAt) return left.createdAt - right.createdAt;
  const [a, b] = [`${left.namespace}/${left.name}`, `${right.namespace}/${right.name}`];
  return a < b ? -1 : a > b ? 1 : 0;
}

function backendsOf(route: Route): ReadonlySet<string> {
  const hosts = new Set<string>();
  for (const { backends } of [...(route.tcp ?? none), ...(route.http ?? none)]) {
    for (const { hostname } of backends) hosts.add(hostname);
  }
  return hosts;
}
