import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import type { LoadBalancerMode, Workload } from '@kmesh/api';
import { drawWeighted, eligibleCandidates, localityRank } from '../../src/routing/balance.ts';
import {
  type Candidate,
  candidatesOf,
  chooseAddress,
  chooseResolvedAddress,
  targetPortOf,
} from '../../src/routing/upstream.ts';
import { gateway, memberOf, mesh, seededRandom, service, workload } from '../fixtures.ts';

const locality = (region: string, zone: string) => ({ locality: { region, zone, subzone: '' } });
const in_a = { services: memberOf('a') };
const endpoints = [
  workload('match', { network: 'network', addresses: ['192.168.0.2'], ...locality('reg', 'zone'), ...in_a }),
  workload('almost', {
    network: 'network',
    addresses: ['192.168.0.3'],
    ...locality('reg', 'not-zone'),
    ...in_a,
  }),
  workload('none', { network: 'network', addresses: ['192.168.0.4'], ...in_a }),
  workload('other', {
    network: 'other-network',
    addresses: ['192.168.0.5'],
    ...locality('reg', 'zone'),
    ...in_a,
  }),
  workload('noip', { network: 'network', ...locality('reg', 'zone'), ...in_a }),
];
const preferences = ['Network', 'Region', 'Zone'] as const;

/** The set from which a client draws. */
function expectedSet(client: Workload, mode: LoadBalancerMode): string[] {
  const balanced = service('a', {
    ports: new Map([[80, 80]]),
    loadBalancer: { mode, routingPreferences: preferences, healthPolicy: 'OnlyHealthy' },
  });
  const state = mesh(balanced, ...endpoints);
  const candidates = candidatesOf(state, balanced, { port: 80, preferredFamily: 4, source: client });
  return eligibleCandidates(candidates, balanced.loadBalancer, client).map(
    (candidate) => candidate.workload.uid,
  );
}

describe('load-balancing modes', () => {
  const rows: [string, Partial<Workload>, LoadBalancerMode, string[]][] = [
    ['LBA-01: no locality, other network', { network: 'third' }, 'Strict', []],
    ['LBA-02: everything equal', { network: 'network', ...locality('reg', 'zone') }, 'Strict', ['match']],
    [
      'LBA-03: nothing equal',
      { network: 'third', ...locality('x', 'y') },
      'Failover',
      ['match', 'almost', 'none', 'other'],
    ],
    ['LBA-04: everything equal', { network: 'network', ...locality('reg', 'zone') }, 'Failover', ['match']],
    ['LBA-05: no zone', { network: 'network', ...locality('reg', '') }, 'Failover', ['match', 'almost']],
    [
      'LBA-06: other region',
      { network: 'network', ...locality('other', '') },
      'Failover',
      ['match', 'almost', 'none'],
    ],
    [
      'LBA-07: other network',
      { network: 'third', ...locality('reg', 'zone') },
      'Failover',
      ['match', 'other'],
    ],
  ];
  for (const [title, client, mode, expected] of rows) {
    test(`${title}, ${mode}`, () =>
      assert.deepEqual(expectedSet(workload('client', client), mode), expected));
  }

  test('LBA-08: an endpoint without address on the own network is never a candidate', () => {
    for (const mode of ['Standard', 'Strict', 'Failover'] as const) {
      for (const network of ['network', 'third']) {
        const set = expectedSet(workload('client', { network, ...locality('reg', 'zone') }), mode);
        assert.ok(!set.includes('noip'));
      }
    }
  });

  test('ranks [Network, Region, Zone] as 5, 4, 3, 2, 1, 0', () => {
    const client = workload('client', { network: 'n', ...locality('r', 'z') });
    const ranks = [
      ['n', 'r', 'z'],
      ['n', 'r', 'x'],
      ['n', 'x', 'z'],
      ['x', 'r', 'z'],
      ['x', 'r', 'x'],
      ['x', 'x', 'z'],
    ].map(([network = '', region = '', zone = '']) =>
      localityRank(preferences, client, workload('e', { network, ...locality(region, zone) })),
    );
    assert.deepEqual(ranks, [5, 4, 3, 2, 1, 0]);
  });
});

describe('weights', () => {
  test('LBA-09: capacities 0, 1 and 3 get nothing, a quarter and three quarters', () => {
    const items = [{ weight: 0 }, { weight: 1 }, { weight: 3 }];
    const random = seededRandom(1);
    const hits = [0, 0, 0];
    for (let draw = 0; draw < 20_000; draw++) {
      const index = items.indexOf(drawWeighted(items, random) ?? { weight: -1 });
      hits[index] = (hits[index] ?? 0) + 1;
    }
    assert.equal(hits[0], 0);
    assert.ok(Math.abs((hits[1] ?? 0) / 20_000 - 0.25) < 0.02, `${hits}`);
  });

  test('LBA-10: all capacities 0 give nothing', () => {
    assert.equal(drawWeighted([{ weight: 0 }, { weight: 0 }]), undefined);
    assert.equal(drawWeighted([]), undefined);
  });

  test('draws the last item at the upper end of the random range', () => {
    const items = [{ weight: 1 }, { weight: 2 }, { weight: 0 }];
    assert.equal(
      drawWeighted(items, () => 1 - 2 ** -53),
      items[1],
    );
    assert.equal(
      drawWeighted(items, () => 0),
      items[0],
    );
  });
});

describe('ports', () => {
  const tunnel = { protocol: 'PROXY', port: 15088 } as const;
  const rows: [
    string,
    [number, number][],
    [number, number][],
    boolean,
    'call' | 'waypoint',
    number | undefined,
  ][] = [
    ['LBA-11: the endpoint maps', [[80, 9090]], [[80, 8080]], false, 'call', 8080],
    ['LBA-12: only the service maps', [[80, 9090]], [], false, 'call', 9090],
    ['LBA-13: neither maps, application tunnel, waypoint', [[80, 0]], [], true, 'waypoint', 80],
    ['LBA-13: undeclared, application tunnel, waypoint', [], [], true, 'waypoint', 80],
    ['LBA-13: undeclared, no tunnel, waypoint', [], [], false, 'waypoint', undefined],
    ['LBA-13: neither maps, application tunnel, ordinary call', [[80, 0]], [], true, 'call', undefined],
    ['T18: undeclared, endpoint maps', [], [[80, 8080]], false, 'call', undefined],
  ];
  for (const [title, servicePorts, endpointPorts, hasTunnel, purpose, expected] of rows) {
    test(title, () => {
      const applicationTunnel = hasTunnel ? tunnel : undefined;
      const actual = targetPortOf(80, {
        servicePorts: new Map(servicePorts),
        endpointPorts: new Map(endpointPorts),
        applicationTunnel,
        purpose,
      });
      assert.equal(actual, expected);
    });
  }

  test('LBA-14: an endpoint whose workload is unknown is skipped', () => {
    const known = service('a');
    const state = mesh(known, workload('w', { ...in_a, addresses: ['10.0.0.1'] }));
    const view = { endpoints: state.endpoints.bind(state), workload: () => undefined };
    assert.deepEqual(
      candidatesOf(view, known, { port: 80, preferredFamily: 4, source: { network: '' } }),
      [],
    );
  });
});

describe('address choice', () => {
  const request = { requestedIp: undefined, preferredFamily: 4, ipFamilies: undefined, network: '' } as const;
  const dual = workload('dual', { addresses: ['10.0.0.1', '10.0.0.2', 'fd00::1'] });

  test("LBA-15: a requested address that is one of the pod's own is kept", () => {
    const choice = chooseAddress(dual, {
      ...request,
      requestedIp: '10.0.0.2',
      preferredFamily: 6,
      ipFamilies: 'IPv6',
    });
    assert.deepEqual(choice, { kind: 'ip', ip: '10.0.0.2' });
  });

  test('no address: hostname, else the gateway of another network, else nothing', () => {
    const named = workload('named', { hostname: 'h.example.org' });
    const split = workload('split', { network: 'remote', networkGateway: gateway('remote/10.22.1.1') });
    assert.deepEqual(chooseAddress(named, request), { kind: 'hostname', hostname: 'h.example.org' });
    assert.deepEqual(chooseAddress(split, request), { kind: 'gateway' });
    assert.equal(chooseAddress(split, { ...request, network: 'remote' }), undefined);
    assert.equal(chooseAddress(dual, { ...request, ipFamilies: 'IPv6' })?.kind, 'ip');
  });

  test('resolved addresses: preferred family, at random, else the other family', () => {
    const answers = ['10.0.0.1', 'fd00::1', 'fd00::2'];
    assert.equal(
      chooseResolvedAddress(answers, 6, () => 0.99),
      'fd00::2',
    );
    assert.equal(chooseResolvedAddress(['10.0.0.1'], 6), '10.0.0.1');
    assert.equal(chooseResolvedAddress([], 4), undefined);
  });
});

describe('selection against brute force', () => {
  test('random services: Failover and Strict agree with sorting by rank', () => {
    const random = seededRandom(11);
    const pick = (values: string[]) => values[Math.floor(random() * values.length)] ?? '';
    for (let round = 0; round < 500; round++) {
      const place = () => ({
        network: pick(['a', 'b']),
        node: pick(['n1', 'n2']),
        clusterId: pick(['c1', 'c2']),
        ...locality(pick(['r1', 'r2']), pick(['z1', 'z2'])),
      });
      const client = workload('client', place());
      const scopes = (['Network', 'Region', 'Zone', 'Node', 'Cluster'] as const).filter(() => random() < 0.6);
      const items = Array.from({ length: 6 }, (_, index) => ({ workload: workload(`w${index}`, place()) }));
      const ranks = items.map((item) => localityRank(scopes, client, item.workload));
      const best = items.filter((_, index) => ranks[index] === Math.max(...ranks));
      const base = { routingPreferences: scopes, healthPolicy: 'OnlyHealthy' } as const;
      assert.deepEqual(eligibleCandidates(items, { mode: 'Failover', ...base }, client), best);
      const strict = eligibleCandidates(items, { mode: 'Strict', ...base }, client);
      const equal = items.filter(({ workload: { network, node, clusterId, locality: place } }) =>
        scopes.every(
          (scope) =>
            ({
              Network: network === client.network,
              Region: place.region === client.locality.region,
              Zone: place.zone === client.locality.zone,
              Node: node === client.node,
              Cluster: clusterId === client.clusterId,
            })[scope],
        ),
      );
      assert.deepEqual(strict, equal);
    }
  });

  test('candidates carry the chosen IP and target port for both families', () => {
    const known = service('a');
    const state = mesh(known, workload('w', { ...in_a, addresses: ['10.0.0.1', 'fd00::1'], capacity: 7 }));
    const ask = (preferredFamily: 4 | 6): Pick<Candidate, 'address' | 'targetPort' | 'weight'>[] =>
      candidatesOf(state, known, { port: 80, preferredFamily, source: { network: '' } }).map(
        ({ address, targetPort, weight }) => ({ address, targetPort, weight }),
      );
    assert.deepEqual(ask(4), [{ address: { kind: 'ip', ip: '10.0.0.1' }, targetPort: 8080, weight: 7 }]);
    assert.deepEqual(ask(6), [{ address: { kind: 'ip', ip: 'fd00::1' }, targetPort: 8080, weight: 7 }]);
  });
});
