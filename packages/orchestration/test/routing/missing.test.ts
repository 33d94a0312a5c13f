import assert from 'node:assert/strict';
import { test } from 'node:test';
import { routeRecord } from '@kmesh/api/testing';
import { resolveInbound } from '../../src/routing/inbound.ts';
import { resolveOutbound } from '../../src/routing/outbound.ts';
import { gateway, type MeshRecord, memberOf, mesh, service, vip, workload } from '../fixtures.ts';

const source = workload('source', { addresses: ['10.0.0.1'] });
const near = workload('near', { addresses: ['10.0.0.2'], services: memberOf('shop') });
const shop = (fields = {}) => service('shop', { vips: [vip('10.1.0.1')], ...fields });
const passthrough = { mode: 'Passthrough', routingPreferences: [], healthPolicy: 'OnlyHealthy' } as const;

const cases: readonly [what: string, records: readonly MeshRecord[], to: string, names: readonly string[]][] =
  [
    ['a known workload', [near], '10.0.0.2:80', []],
    ['a known service with an endpoint', [near, shop()], '10.1.0.1:80', []],
    ['an unknown address', [], '10.0.0.9:80', ['/10.0.0.9']],
    ['a loopback address', [], '127.0.0.1:80', []],
    [
      'an address of which only a CIDR is known',
      [service('all', { cidrVips: [{ network: '', cidr: '10.0.0.0/8' }], loadBalancer: passthrough })],
      '10.0.0.9:80',
      ['/10.0.0.9'],
    ],
    ['a service without endpoints', [shop()], '10.1.0.1:80', ['ns/shop.example.com']],
    ['a port that a service does not declare', [shop()], '10.1.0.1:81', []],
    ['a Passthrough service', [shop({ loadBalancer: passthrough })], '10.1.0.1:80', []],
    [
      'a service with an unknown waypoint by host name',
      [near, shop({ waypoint: gateway('ns/waypoint.example.com') })],
      '10.1.0.1:80',
      ['ns/waypoint.example.com'],
    ],
    [
      'a workload with an unknown waypoint by address',
      [{ ...near, waypoint: gateway('/10.0.0.8') }],
      '10.0.0.2:80',
      ['/10.0.0.8'],
    ],
    [
      'a service with endpoints in a network whose gateway is unknown',
      [
        shop(),
        { ...near, network: 'far', networkGateway: gateway('far/10.9.0.1'), services: memberOf('shop') },
      ],
      '10.1.0.1:80',
      ['far/10.9.0.1'],
    ],
  ];

function missing(state: ReturnType<typeof mesh>, to: string): string[] {
  const [ip = '', port] = to.split(':');
  const names = new Set<string>();
  const request = { source, clientIp: '10.0.0.1', destination: { ip, port: Number(port) } };
  resolveOutbound(state, request, { missing: (name) => names.add(name) });
  return [...names];
}

for (const [what, records, to, names] of cases) {
  test(`XDS-14: for ${what} a decision lacks ${names.join(', ') || 'nothing'}`, () => {
    assert.deepEqual(missing(mesh(source, ...records), to), names);
  });
}

test('XDS-14: for a route a decision lacks every backend that is not known, whichever is drawn', () => {
  const state = mesh(source, near, shop());
  const hosts = ['shop.example.com', 'v2.example.com', 'v3.other.svc.cluster.local'];
  const backends = hosts.map((hostname) => ({ hostname, weight: 1 }));
  const route = routeRecord({ hosts: ['shop.example.com'], namespace: 'ns' }, backends);
  state.apply([{ kind: 'route', route }]);
  assert.deepEqual(missing(state, '10.1.0.1:80'), ['ns/v2.example.com', 'other/v3.other.svc.cluster.local']);
});

test('XDS-14: for an inbound request a decision lacks the object at its authority, and its waypoints', () => {
  const behind = service('behind', {
    vips: [vip('10.1.0.2')],
    waypoint: gateway('ns/waypoint.example.com'),
  });
  const state = mesh(near, behind);
  const requests: Record<string, readonly string[]> = {
    '10.0.0.2:80': [],
    '10.0.0.9:80': ['/10.0.0.9'],
    '10.1.0.2:80': ['ns/waypoint.example.com'],
    'behind.example.com:80': [],
    'shop.example.com:80': ['ns/shop.example.com'],
    'shop.other.svc.cluster.local:80': ['other/shop.other.svc.cluster.local'],
  };
  for (const [authority, expected] of Object.entries(requests)) {
    const names: string[] = [];
    const destination = { ip: '10.0.0.2', port: 15008 };
    const missing = (name: string): unknown => names.push(name);
    resolveInbound(
      state,
      { network: '' },
      { method: 'CONNECT', authority, destination, workload: near, missing },
    );
    assert.deepEqual(names, expected, authority);
  }
});
