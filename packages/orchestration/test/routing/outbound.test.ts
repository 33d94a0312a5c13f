import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import type { Service, Workload } from '@kmesh/api';
import { ILLEGAL_PORTS, type OutboundDecision } from '../../src/routing/decision.ts';
import { resolveOutbound, withResolvedAddress } from '../../src/routing/outbound.ts';
import type { MeshState } from '../../src/state/mesh-state.ts';
import {
  gateway,
  type MeshRecord,
  memberOf,
  mesh,
  seededRandom,
  service,
  vip,
  workload,
} from '../fixtures.ts';

const source = workload('source', {
  addresses: ['127.0.0.1', '::1'],
  node: 'local',
  serviceAccount: 'source-sa',
});
const waypointSa = { serviceAccount: 'waypoint-sa', node: 'remote' };
const waypoint = workload('waypoint', { addresses: ['127.0.0.10'], ...waypointSa });
const dualWaypoint = workload('dual-waypoint', { addresses: ['127.0.0.11', 'ff06::c5'], ...waypointSa });
const WAYPOINT = gateway('/127.0.0.10');
const WAYPOINT_ID = 'spiffe://cluster.local/ns/ns/sa/waypoint-sa';

function outbound(
  records: MeshRecord[] | MeshState,
  to: string,
  options: { source?: Workload; clientIp?: string; random?: () => number; trace?: string[] } = {},
): OutboundDecision {
  const state = Array.isArray(records) ? mesh(source, waypoint, dualWaypoint, ...records) : records;
  const colon = to.lastIndexOf(':');
  const from = options.source ?? source;
  const request = {
    source: from,
    clientIp: options.clientIp ?? from.addresses[0] ?? '127.0.0.1',
    destination: { ip: to.slice(0, colon).replace(/[[\]]/g, ''), port: Number(to.slice(colon + 1)) },
  };
  const { random, trace } = options;
  return resolveOutbound(state, request, { ...(random && { random }), ...(trace && { trace }) });
}

/** A decision in one line. */
function summary(decision: OutboundDecision): string {
  if (decision.kind === 'refused') return `refused ${decision.category}`;
  if (decision.kind === 'resolveHostname') return `resolve ${decision.hostname}`;
  const { ip, port } = decision.nextHop;
  const to = `${decision.kind} ${ip.includes(':') ? `[${ip}]` : ip}:${port}`;
  return decision.kind === 'tcp' ? to : `${to} ${decision.authority}`;
}

const at = (ip: string, fields: Partial<Workload> = {}) =>
  workload('destination', { addresses: [ip], ...fields });
const remote = { network: 'remote', serviceAccount: 'remote-sa' };
const example = (fields: Partial<Service> = {}) =>
  service('example', { hostname: 'example.com', vips: [vip('127.0.0.3')], ...fields });
const inExample = (uid: string, fields: Partial<Workload>) =>
  workload(uid, { services: new Map([['ns/example.com', new Map()]]), ...fields });

describe('outbound decisions', () => {
  const rows: [string, MeshRecord[], string, string][] = [
    ['OUT-01: nothing known', [], '1.2.3.4:80', 'tcp 1.2.3.4:80'],
    [
      'OUT-02: TCP workload, remote node',
      [at('127.0.0.2', { node: 'remote' })],
      '127.0.0.2:80',
      'tcp 127.0.0.2:80',
    ],
    [
      'OUT-02: TCP workload, same node',
      [at('127.0.0.2', { node: 'local' })],
      '127.0.0.2:80',
      'tcp 127.0.0.2:80',
    ],
    [
      'OUT-03: HBONE workload, remote node',
      [at('127.0.0.2', { protocol: 'HBONE', node: 'remote' })],
      '127.0.0.2:80',
      'hbone 127.0.0.2:15008 127.0.0.2:80',
    ],
    [
      'OUT-03: HBONE workload, same node',
      [at('127.0.0.2', { protocol: 'HBONE', node: 'local' })],
      '127.0.0.2:80',
      'hbone 127.0.0.2:15008 127.0.0.2:80',
    ],
    [
      'OUT-05: workload with a waypoint',
      [at('127.0.0.2', { waypoint: WAYPOINT })],
      '127.0.0.2:80',
      'hbone 127.0.0.10:15008 127.0.0.2:80',
    ],
    [
      'OUT-08: service with a waypoint by IP',
      [example({ waypoint: WAYPOINT })],
      '127.0.0.3:80',
      'hbone 127.0.0.10:15008 127.0.0.3:80',
    ],
    [
      'OUT-09: IPv6 workload, waypoint by IPv4',
      [at('ff06::c3', { waypoint: gateway('/127.0.0.11') })],
      '[ff06::c3]:80',
      'hbone 127.0.0.11:15008 [ff06::c3]:80',
    ],
    [
      'OUT-10: IPv6 workload, waypoint by hostname of a dual-stack service',
      [
        at('ff06::c3', { waypoint: gateway('ns/waypoint.example.com') }),
        service('waypoint', { ports: new Map([[15008, 15008]]) }),
        { ...dualWaypoint, services: memberOf('waypoint') },
      ],
      '[ff06::c3]:80',
      'hbone [ff06::c5]:15008 [ff06::c3]:80',
    ],
    [
      'OUT-11: unresolvable waypoint of a service',
      [example({ waypoint: gateway('ns/nowhere') }), inExample('e', { addresses: ['127.0.0.2'] })],
      '127.0.0.3:80',
      'refused UnknownWaypoint',
    ],
    [
      'OUT-11: unresolvable waypoint of a workload',
      [at('127.0.0.2', { waypoint: gateway('/127.9.9.9') })],
      '127.0.0.2:80',
      'refused UnknownWaypoint',
    ],
    [
      'OUT-11: waypoint service without endpoints',
      [
        example({ waypoint: gateway('ns/waypoint.example.com') }),
        service('waypoint', { ports: new Map([[15008, 15008]]) }),
      ],
      '127.0.0.3:80',
      'refused UnknownWaypoint',
    ],
    ['OUT-14: service without endpoints', [example()], '127.0.0.3:80', 'refused NoHealthyUpstream'],
    [
      'OUT-15: undeclared service port',
      [example(), inExample('e', { addresses: ['127.0.0.2'] })],
      '127.0.0.3:81',
      'refused NoHealthyUpstream',
    ],
    [
      'OUT-16: named port, mapped by one of two endpoints',
      [
        service('named', { vips: [vip('127.0.0.3')], ports: new Map([[80, 0]]) }),
        workload('mapped', { addresses: ['127.0.0.2'], services: memberOf('named', [[80, 1234]]) }),
        workload('unmapped', { addresses: ['127.0.0.4'], services: memberOf('named') }),
      ],
      '127.0.0.3:80',
      'tcp 127.0.0.2:1234',
    ],
    [
      'OUT-17: host-network workload behind a service',
      [example(), inExample('e', { addresses: ['127.0.0.2'], networkMode: 'HostNetwork' })],
      '127.0.0.3:80',
      'tcp 127.0.0.2:8080',
    ],
    [
      'OUT-17: host-network workload called directly',
      [
        example(),
        inExample('e', { addresses: ['127.0.0.2'], networkMode: 'HostNetwork', protocol: 'HBONE' }),
      ],
      '127.0.0.2:80',
      'tcp 127.0.0.2:80',
    ],
    [
      'OUT-18: dual-stack workload by IPv4',
      [at('127.0.0.2', { addresses: ['127.0.0.2', 'ff06::c3'] })],
      '127.0.0.2:80',
      'tcp 127.0.0.2:80',
    ],
    [
      'OUT-18: dual-stack workload by IPv6',
      [at('127.0.0.2', { addresses: ['127.0.0.2', 'ff06::c3'] })],
      '[ff06::c3]:80',
      'tcp [ff06::c3]:80',
    ],
    [
      'OUT-20: PASSTHROUGH',
      [passthrough({}), inExample('e', { addresses: ['127.0.0.2'] })],
      '127.0.0.3:80',
      'tcp 127.0.0.3:80',
    ],
    [
      'OUT-20: PASSTHROUGH with a waypoint',
      [passthrough({ waypoint: WAYPOINT })],
      '127.0.0.3:80',
      'hbone 127.0.0.10:15008 127.0.0.3:80',
    ],
    [
      'OUT-21: endpoint on another network without gateway',
      [example(), inExample('e', { addresses: ['10.22.1.2'], ...remote })],
      '127.0.0.3:80',
      'refused UnknownNetworkGateway',
    ],
    [
      'OUT-21: gateway that is not known',
      [example(), inExample('e', { ...remote, networkGateway: gateway('remote/10.22.1.1') })],
      '127.0.0.3:80',
      'refused UnknownNetworkGateway',
    ],
    [
      'OUT-22: gateway by IP',
      [
        example(),
        inExample('e', { ...remote, networkGateway: gateway('remote/10.22.1.1', 15009) }),
        workload('gateway', { ...remote, addresses: ['10.22.1.1'] }),
      ],
      '127.0.0.3:80',
      'doubleHbone 10.22.1.1:15009 example.com:80',
    ],
    [
      'OUT-23: gateway by hostname of a service that maps the port',
      [
        example(),
        inExample('e', { ...remote, networkGateway: gateway('ns/gateway.example.com', 15009) }),
        service('gateway', { ports: new Map([[15009, 15008]]) }),
        workload('gateway', { ...remote, addresses: ['127.0.0.5'], services: memberOf('gateway') }),
      ],
      '127.0.0.3:80',
      'doubleHbone 127.0.0.5:15008 example.com:80',
    ],
    [
      'OUT-24: service waypoint on another network',
      [
        example({ waypoint: gateway('ns/waypoint.example.com') }),
        service('waypoint', { ports: new Map([[15008, 15008]]) }),
        workload('split', {
          ...remote,
          services: memberOf('waypoint'),
          networkGateway: gateway('remote/10.22.1.1'),
        }),
        workload('gateway', { ...remote, addresses: ['10.22.1.1'] }),
      ],
      '127.0.0.3:80',
      'doubleHbone 10.22.1.1:15008 example.com:80',
    ],
    [
      'a workload with the address of a service does not admit an undeclared port',
      [example(), at('127.0.0.3')],
      '127.0.0.3:81',
      'refused NoHealthyUpstream',
    ],
  ];
  for (const [title, records, to, expected] of rows) {
    test(title, () => assert.equal(summary(outbound(records, to)), expected));
  }

  function passthrough(fields: Partial<Service>): Service {
    return example({
      loadBalancer: { mode: 'Passthrough', routingPreferences: [], healthPolicy: 'OnlyHealthy' },
      ...fields,
    });
  }

  test('OUT-01: plain passthrough has no destination labels', () => {
    const decision = outbound([], '1.2.3.4:80');
    assert.deepEqual(decision.kind === 'tcp' && [decision.via, decision.workload, decision.service], [
      'passthrough',
      undefined,
      undefined,
    ]);
  });

  test('OUT-04: the waypoint of the source is ignored', () => {
    const decision = outbound([at('127.0.0.2')], '127.0.0.2:80', {
      source: { ...source, waypoint: WAYPOINT },
    });
    assert.equal(summary(decision), 'tcp 127.0.0.2:80');
  });

  test('OUT-06: the waypoint itself connects directly', () => {
    const decision = outbound([at('127.0.0.2', { waypoint: WAYPOINT })], '127.0.0.2:80', {
      source: waypoint,
    });
    assert.equal(summary(decision), 'tcp 127.0.0.2:80');
  });

  test("OUT-07: the waypoint's identity with another IP goes through the waypoint", () => {
    const impostor = workload('impostor', { addresses: ['127.0.0.1'], ...waypointSa });
    const decision = outbound([at('127.0.0.2', { waypoint: WAYPOINT })], '127.0.0.2:80', {
      source: impostor,
    });
    assert.equal(summary(decision), 'hbone 127.0.0.10:15008 127.0.0.2:80');
  });

  const weights: [string, number, number, (share: number) => boolean][] = [
    ['100/0', 100, 0, (share) => share === 1],
    ['0/100', 0, 100, (share) => share === 0],
    ['75/25', 75, 25, (share) => share >= 0.7 && share <= 0.8],
  ];
  for (const [title, first, second, expected] of weights) {
    test(`OUT-12: weighted waypoints ${title}`, () => {
      const weightedWaypoints = [
        { destination: WAYPOINT, weight: first },
        { destination: gateway('/127.0.0.11'), weight: second },
      ];
      const state = mesh(
        source,
        waypoint,
        dualWaypoint,
        example({ weightedWaypoints, waypoint: gateway('/127.9.9.9') }),
      );
      const random = seededRandom(3);
      let hits = 0;
      for (let draw = 0; draw < 10_000; draw++) {
        const decision = outbound(state, '127.0.0.3:80', { random });
        if (decision.kind === 'hbone' && decision.nextHop.ip === '127.0.0.10') hits++;
      }
      assert.ok(expected(hits / 10_000), `share of the first: ${hits / 10_000}`);
    });
  }

  test('OUT-12: weights 0/0 use the plain field', () => {
    const weightedWaypoints = [{ destination: gateway('/127.0.0.11'), weight: 0 }];
    const decision = outbound([example({ weightedWaypoints, waypoint: WAYPOINT })], '127.0.0.3:80');
    assert.equal(summary(decision), 'hbone 127.0.0.10:15008 127.0.0.3:80');
  });

  test('OUT-13: a waypoint that calls its own service VIP is sent to the waypoint again', () => {
    const decision = outbound([example({ waypoint: WAYPOINT })], '127.0.0.3:80', { source: waypoint });
    assert.equal(summary(decision), 'hbone 127.0.0.10:15008 127.0.0.3:80');
  });

  const families: [Service['ipFamilies'], string, string][] = [
    ['IPv6', '127.0.0.3:80', '[ff06::c3]:8080'],
    ['IPv4', '[ff06::c6]:80', '127.0.0.2:8080'],
    ['Dual', '127.0.0.3:80', '127.0.0.2:8080'],
    ['Dual', '[ff06::c6]:80', '[ff06::c3]:8080'],
  ];
  for (const [ipFamilies, to, expected] of families) {
    test(`OUT-19: dual-stack pod, families ${ipFamilies}, call to ${to}`, () => {
      const records = [
        example({ ipFamilies, vips: [vip('127.0.0.3'), vip('ff06::c6')] }),
        inExample('e', { addresses: ['127.0.0.2', 'ff06::c3'] }),
      ];
      assert.equal(summary(outbound(records, to)), `tcp ${expected}`);
    });
  }

  test('OUT-25: a local endpoint is always chosen, the remote one only if there is no local one', () => {
    const records = [
      example({
        loadBalancer: { mode: 'Failover', routingPreferences: ['Network'], healthPolicy: 'OnlyHealthy' },
      }),
      inExample('local', { addresses: ['127.0.0.2'] }),
      inExample('far', { ...remote, networkGateway: gateway('remote/10.22.1.1'), capacity: 100 }),
      workload('gateway', { ...remote, addresses: ['10.22.1.1'] }),
    ];
    const state = mesh(source, ...records);
    const random = seededRandom(5);
    for (let draw = 0; draw < 100; draw++) {
      assert.equal(summary(outbound(state, '127.0.0.3:80', { random })), 'tcp 127.0.0.2:8080');
    }
    state.apply([{ kind: 'removeWorkload', uid: 'local' }]);
    assert.equal(summary(outbound(state, '127.0.0.3:80')), 'doubleHbone 10.22.1.1:15008 example.com:80');
  });

  for (const port of ILLEGAL_PORTS) {
    for (const ip of ['127.0.0.1', '[::1]', '127.8.8.8']) {
      test(`OUT-28: ${ip}:${port} is a self call`, () => {
        assert.equal(summary(outbound([], `${ip}:${port}`)), 'refused SelfCall');
      });
    }
  }

  test('OUT-31: accepted ids are the service SANs that parse and the workload identity', () => {
    const san = 'spiffe://cluster.local/ns/x/sa/san';
    const decision = outbound(
      [
        example({ subjectAltNames: [san, 'not-an-id', 'spiffe://short'] }),
        inExample('e', { addresses: ['127.0.0.2'], protocol: 'HBONE', serviceAccount: 'e' }),
      ],
      '127.0.0.3:80',
    );
    assert.deepEqual(decision.kind === 'hbone' && decision.acceptedIdentities, [
      san,
      'spiffe://cluster.local/ns/ns/sa/e',
    ]);
    const viaWaypoint = outbound([example({ waypoint: WAYPOINT, subjectAltNames: [san] })], '127.0.0.3:80');
    assert.deepEqual(viaWaypoint.kind === 'hbone' && viaWaypoint.acceptedIdentities, [WAYPOINT_ID]);
  });

  test('OUT-31: the inner ids of a call to another network are those of the destination service only', () => {
    const san = 'spiffe://cluster.local/ns/x/sa/san';
    const decision = outbound(
      [
        example({ subjectAltNames: [san] }),
        inExample('e', { ...remote, networkGateway: gateway('remote/10.22.1.1') }),
        workload('gateway', { ...remote, addresses: ['10.22.1.1'] }),
      ],
      '127.0.0.3:80',
    );
    assert.equal(decision.kind, 'doubleHbone');
    if (decision.kind !== 'doubleHbone') return;
    assert.deepEqual(decision.innerAcceptedIdentities, [san]);
    assert.deepEqual(decision.acceptedIdentities, ['spiffe://cluster.local/ns/ns/sa/remote-sa']);
    assert.equal(decision.workload.uid, 'gateway');
    assert.equal(decision.service?.hostname, 'example.com');
  });

  test('the hostname of an endpoint without addresses is resolved, and the result dialled and reported', () => {
    const named = inExample('e', { hostname: 'outside.example.org', protocol: 'HBONE' });
    const decision = outbound([example(), named], '127.0.0.3:80');
    assert.equal(summary(decision), 'resolve outside.example.org');
    if (decision.kind !== 'resolveHostname') return;
    assert.equal(summary(withResolvedAddress(decision, 'fd00::1')), 'hbone [fd00::1]:15008 [fd00::1]:8080');
  });

  test('LBA-18: Strict without an endpoint on the own node is refused', () => {
    const strict = example({
      loadBalancer: { mode: 'Strict', routingPreferences: ['Node'], healthPolicy: 'OnlyHealthy' },
    });
    const decision = outbound(
      [strict, inExample('e', { addresses: ['127.0.0.2'], node: 'remote' })],
      '127.0.0.3:80',
    );
    assert.equal(summary(decision), 'refused NoHealthyUpstream');
  });

  test('LBA-17: 30 ports, and a workload in 20 services, all work', () => {
    const ports = new Map(Array.from({ length: 30 }, (_, index) => [1000 + index, 2000 + index]));
    const services = Array.from({ length: 20 }, (_, index) =>
      service(`s${index}`, { vips: [vip(`10.9.0.${index}`)], ports }),
    );
    const member = workload('member', {
      addresses: ['127.0.0.2'],
      services: new Map(services.map(({ hostname }) => [`ns/${hostname}`, new Map()])),
    });
    const state = mesh(source, member, ...services);
    for (let index = 0; index < 20; index++) {
      for (const [port, target] of ports) {
        assert.equal(summary(outbound(state, `10.9.0.${index}:${port}`)), `tcp 127.0.0.2:${target}`);
      }
    }
  });

  test('reports its steps on request', () => {
    const trace: string[] = [];
    outbound([example({ waypoint: WAYPOINT })], '127.0.0.3:80', { trace });
    assert.deepEqual(trace, [
      '127.0.0.3:80 is service ns/example.com',
      'service ns/example.com is reached through waypoint /127.0.0.10',
      'hbone to 127.0.0.10:15008',
    ]);
  });
});
