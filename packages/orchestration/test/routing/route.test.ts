import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import type { Route, RouteRule, Service } from '@kmesh/api';
import { routeRecord } from '@kmesh/api/testing';
import { routeOf } from '../../src/routing/route.ts';
import { MeshState } from '../../src/state/mesh-state.ts';
import { gateway, service, updatesOf } from '../fixtures.ts';

const host = (name: string) => `${name}.example.com`;
const to = (...backends: (readonly [name: string, weight: number])[]): RouteRule => ({
  matches: [],
  backends: backends.map(([name, weight]) => ({ hostname: name && host(name), port: undefined, weight })),
});
const canary = to(['v1', 90], ['v2', 10]);
const services = ['shop', 'v1', 'v2'].map((name) => service(name));

interface Case {
  readonly routes: readonly Partial<Route>[];
  readonly shop?: Partial<Service>;
  readonly client?: string;
  readonly port?: number;
  readonly byConnection?: boolean;
  readonly others?: readonly Service[];
}

/** Returns the decision of routes of `shop` for a connection, in one line. */
function said({ routes, shop, client = 'ns', port = 80, byConnection = false, others = [] }: Case): string {
  const state = new MeshState({ routesHttpByConnection: byConnection });
  state.apply(updatesOf(...services, service('shop', shop), ...others));
  state.apply(
    routes.map((fields, index) => {
      const route = routeRecord({ hosts: [host('shop')], namespace: 'ns', name: `r${index}`, ...fields });
      return { kind: 'route', route };
    }),
  );
  const dialled = state.service(`ns/${host('shop')}`);
  assert.ok(dialled);
  const decision = routeOf(state, { service: dialled, port, clientNamespace: client });
  if (decision === undefined) return 'none';
  const { name } = decision.route;
  if (decision.kind === 'notApplied') return `${name} not applied: ${decision.reason}`;
  const shares = decision.backends.map(
    ({ hostname, weight, target, problem }) =>
      `${weight} ${target === undefined ? `refused, ${problem}` : `${hostname.split('.')[0]}:${target.port}`}`,
  );
  return `${name}: ${shares.join('; ') || 'refuse all'}`;
}

const http = { tcp: undefined, http: [canary] };
const httpPort = { httpPorts: new Set([80]) };

describe('the choice of a route', () => {
  const cases: Readonly<Record<string, readonly [Case, string]>> = {
    'weights of TCP rules are applied': [{ routes: [{ tcp: [canary] }] }, 'r0: 90 v1:80; 10 v2:80'],
    'weight 0 receives nothing': [{ routes: [{ tcp: [to(['v1', 1], ['v2', 0])] }] }, 'r0: 1 v1:80'],
    'without any weight every connection is refused': [
      { routes: [{ tcp: [to(['v1', 0], ['v2', 0])] }] },
      'r0: refuse all',
    ],
    'the share of an unknown backend is refused': [
      { routes: [{ tcp: [to(['v1', 1], ['gone', 1])] }] },
      'r0: 1 v1:80; 1 refused, it is not known',
    ],
    'the share of a backend that is not permitted is refused': [
      { routes: [{ tcp: [to(['v1', 1], ['', 1])] }] },
      'r0: 1 v1:80; 1 refused, the control plane does not permit it',
    ],
    'the waypoint of a service applies its routes': [
      { routes: [{ tcp: [canary] }], shop: { waypoint: gateway('/10.0.0.9') } },
      'r0 not applied: the service has a waypoint, which applies its routes',
    ],
    'an unsupported route is not applied, and neither is a newer one': [
      {
        routes: [
          { tcp: [], unsupported: 'http.rewrite' },
          { tcp: [canary], createdAt: 1 },
        ],
      },
      'r0 not applied: http.rewrite: needs a waypoint',
    ],
    'the first rule that matches the connection applies': [
      { routes: [{ tcp: [{ ...canary, matches: [{ port: 81 }] }, to(['v2', 1])] }] },
      'r0: 1 v2:80',
    ],
    'a rule for another client namespace does not apply': [
      { routes: [{ tcp: [{ ...canary, matches: [{ sourceNamespace: 'other' }] }] }] },
      'none',
    ],
    'a port that the service does not declare has no route': [
      { routes: [{ tcp: [canary] }], port: 81 },
      'none',
    ],
    'of two routes the older one applies': [
      {
        routes: [
          { tcp: [canary], createdAt: 2 },
          { tcp: [to(['v2', 1])], createdAt: 1 },
        ],
      },
      'r1: 1 v2:80',
    ],
    'a newer route applies to ports without a rule in the older one': [
      {
        routes: [{ tcp: [{ ...canary, matches: [{ port: 81 }] }] }, { tcp: [to(['v2', 1])], createdAt: 1 }],
      },
      'r1: 1 v2:80',
    ],
    'a route for HTTP does not prevent one for TCP': [
      {
        routes: [
          { ...http, unsupported: 'http.match.headers', http: [] },
          { tcp: [canary], createdAt: 1 },
        ],
      },
      'r1: 90 v1:80; 10 v2:80',
    ],
    "a route of the client's namespace takes precedence over the service's": [
      {
        routes: [{ tcp: [canary] }, { tcp: [to(['v2', 1])], namespace: 'a', createdAt: 1 }],
        client: 'a',
      },
      'r1: 1 v2:80',
    ],
    'a consumer route of the Gateway API does not apply to other namespaces': [
      { routes: [{ tcp: [canary], namespace: 'a' }], client: 'b' },
      'none',
    ],
    'a VirtualService of another namespace applies to all clients': [
      { routes: [{ tcp: [canary], namespace: 'a', isGatewayApi: false }], client: 'b' },
      'r0: 90 v1:80; 10 v2:80',
    ],
    'exportTo "." applies to its own namespace': [
      { routes: [{ tcp: [canary], exportTo: ['.'] }], client: 'b' },
      'none',
    ],
    'exportTo names namespaces': [
      { routes: [{ tcp: [canary], exportTo: ['b'] }], client: 'b' },
      'r0: 90 v1:80; 10 v2:80',
    ],
    'HTTP rules are not applied by default': [
      { routes: [http], shop: httpPort },
      'r0 not applied: HTTP routes split requests: needs a waypoint, or KMESH_HTTP_ROUTES=by-connection to split connections',
    ],
    'HTTP rules without a match split connections if the setting says so': [
      { routes: [http], shop: httpPort, byConnection: true },
      'r0: 90 v1:80; 10 v2:80',
    ],
    'HTTP rules do not apply to a port that is not declared HTTP, and the reason is reported': [
      { routes: [http], byConnection: true },
      'r0 not applied: port 80 is not declared HTTP, and the route has rules for HTTP only',
    ],
    'a route with a wildcard is not applied, and the reason is reported': [
      {
        routes: [{ hosts: ['*.example.com'], tcp: [], unsupported: 'its host *.example.com is a wildcard' }],
      },
      'r0 not applied: its host *.example.com is a wildcard: needs a waypoint',
    ],
    'a PASSTHROUGH service is not balanced, so its connections are not split': [
      {
        routes: [{ tcp: [canary] }],
        shop: { loadBalancer: { routingPreferences: [], mode: 'Passthrough', healthPolicy: 'OnlyHealthy' } },
      },
      'r0 not applied: the service is not balanced (PASSTHROUGH)',
    ],
    'a backend is dialled at the port that the route names, else the dialled one, else its only one': [
      {
        routes: [
          {
            tcp: [
              {
                matches: [],
                backends: [
                  { hostname: host('many'), port: 82, weight: 1 },
                  { hostname: host('many'), port: undefined, weight: 1 },
                  { hostname: host('one'), port: undefined, weight: 1 },
                  { hostname: host('one'), port: 80, weight: 1 },
                ],
              },
            ],
          },
        ],
        others: [
          service('many', { ports: new Map([80, 82].map((port) => [port, port])) }),
          service('one', { ports: new Map([[9, 9]]) }),
        ],
      },
      'r0: 1 many:82; 1 many:80; 1 one:9; 1 refused, it has no port 80',
    ],
  };
  for (const [name, [given, expected]] of Object.entries(cases)) {
    test(name, () => assert.equal(said(given), expected));
  }
});
