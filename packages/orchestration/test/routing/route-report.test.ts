import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Route, Service } from '@kmesh/api';
import { routeRecord } from '@kmesh/api/testing';
import { reportRoutes } from '../../src/routing/route-report.ts';
import { MeshState } from '../../src/state/mesh-state.ts';
import { gateway, service, updatesOf } from '../fixtures.ts';

const shop = 'shop.example.com';

/** Returns the report about routes of `shop` to `v1` and to an unknown backend, in lines. */
function report(routes: readonly Partial<Route>[], fields: Partial<Service> = {}): string[] {
  const state = new MeshState();
  state.apply(updatesOf(service('shop', fields), service('v1')));
  for (const [index, one] of routes.entries()) {
    const backends = [
      { hostname: 'v1.example.com', weight: 3 },
      { hostname: 'gone.example.com', weight: 1 },
    ];
    const route = routeRecord(
      { hosts: [shop], namespace: 'ns', name: `r${index}`, createdAt: index },
      backends,
    );
    state.apply([{ kind: 'route', route: { ...route, ...one } }]);
  }
  return reportRoutes(state).flatMap(({ route, shares, problems }) => [
    ...shares.map(({ port, backend, share, problem }) =>
      `${route} ${port} ${backend} ${share} ${problem ?? ''}`.trim(),
    ),
    ...problems.map((problem) => `${route} ${problem}`),
  ]);
}

const wanted = (route: string) => [
  `${route} 80 v1.example.com 0.75`,
  `${route} 80 gone.example.com 0.25 it is not known`,
];

test('a route that is applied is reported with the share of each backend', () => {
  assert.deepEqual(report([{}]), wanted('ns/r0'));
});

test('a route for clients of some namespaces is reported for these namespaces', () => {
  assert.deepEqual(report([{ namespace: 'consumer' }]), wanted('consumer/r0'));
  assert.deepEqual(report([{ exportTo: ['a'], isGatewayApi: false }]), wanted('ns/r0'));
});

test('a route that is not applied is reported with the reason, one for gateways not at all', () => {
  assert.deepEqual(report([{ unsupported: 'http.rewrite', tcp: [] }]), [
    'ns/r0 http.rewrite: needs a waypoint',
  ]);
  assert.deepEqual(report([{}], { waypoint: gateway('/10.0.0.9') }), [
    'ns/r0 ns/shop.example.com:80: the service has a waypoint, which applies its routes',
  ]);
  assert.deepEqual(report([{}, {}]), [
    ...wanted('ns/r0'),
    'ns/r1 ns/shop.example.com:80: route ns/r0 comes first',
  ]);
  assert.deepEqual(report([{ hosts: ['other'] }]), ['ns/r0 service other is not known']);
  assert.deepEqual(report([{ tcp: [{ matches: [{ port: 81 }], backends: [] }] }]), [
    'ns/r0 no rule applies to a port of its services',
  ]);
  assert.deepEqual(report([{ tcp: [{ matches: [], backends: [] }] }]), [
    'ns/r0 ns/shop.example.com:80: no backend has a weight: every connection is refused',
  ]);
  assert.deepEqual(report([{ hosts: [], unsupported: 'it is for gateways' }]), []);
});
