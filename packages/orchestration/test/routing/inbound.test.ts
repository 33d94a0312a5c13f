import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import type { ApplicationTunnel, GatewayAddress, Workload } from '@kmesh/api';
import {
  inboundService,
  inboundSourceWorkload,
  refusePlaintext,
  resolveInbound,
  servicesOfWorkload,
} from '../../src/routing/inbound.ts';
import { gateway, memberOf, mesh, service, vip, workload } from '../fixtures.ts';

const NODE = { network: '' };
const [CLIENT, SERVER, WAYPOINT, WAYPOINT_2] = ['10.0.0.1', '10.0.0.2', '10.0.0.3', '10.0.0.4'] as const;
const [VIP, WAYPOINT_VIP] = ['10.10.0.1', '10.10.0.2'] as const;
const PROXY: ApplicationTunnel = { protocol: 'PROXY', port: 15088 };

interface Setup {
  readonly workloadWaypoint?: GatewayAddress;
  readonly serviceWaypoint?: GatewayAddress;
  readonly tunnel?: ApplicationTunnel;
}

/** Server pod behind a service 80→8080, waypoint pod behind its own service, client pod. */
function setup({ workloadWaypoint, serviceWaypoint, tunnel }: Setup) {
  return mesh(
    service('server', {
      vips: [vip(VIP)],
      ports: new Map([
        [80, 8080],
        [90, 0],
        [15008, 15008],
      ]),
      waypoint: serviceWaypoint,
    }),
    service('waypoint', { vips: [vip(WAYPOINT_VIP)], ports: new Map([[15008, 15008]]) }),
    workload('client', { addresses: [CLIENT] }),
    workload('server', {
      addresses: [SERVER],
      services: memberOf('server', [[90, 9090]]),
      waypoint: workloadWaypoint,
    }),
    workload('waypoint', {
      addresses: [WAYPOINT],
      services: memberOf('waypoint'),
      applicationTunnel: tunnel,
    }),
    workload('stranger', { addresses: [WAYPOINT_2] }),
  );
}

/** The decision in one line. */
function inbound(config: Setup, to: string, authority: string | undefined, method = 'CONNECT'): string {
  const state = setup(config);
  const local = state.workloadByAddress('', to) as Workload;
  const decision = resolveInbound(state, NODE, {
    method,
    authority,
    destination: { ip: to, port: 15008 },
    workload: local,
  });
  if (decision.kind === 'refused') return `${decision.status} ${decision.category}`;
  const { target, proxyHeaderDestination: header } = decision;
  return `${target.ip}:${target.port}${header === undefined ? '' : ` header ${header.ip}:${header.port}`}`;
}

const byIp = gateway(`/${WAYPOINT}`);
const byVip = gateway(`/${WAYPOINT_VIP}`);
const byHostname = gateway('ns/waypoint.example.com');

describe('inbound HBONE', () => {
  const rows: [string, Setup, string, string | undefined, string][] = [
    ['INB-01: server pod by its IP', {}, SERVER, `${SERVER}:8080`, `${SERVER}:8080`],
    ['INB-02: server pod by hostname', {}, SERVER, 'server.example.com:80', `${SERVER}:8080`],
    [
      'INB-03: workload waypoint by pod IP',
      { workloadWaypoint: byIp },
      WAYPOINT,
      `${SERVER}:8080`,
      `${WAYPOINT}:8080`,
    ],
    [
      'INB-03: workload waypoint by VIP',
      { workloadWaypoint: byVip },
      WAYPOINT,
      `${SERVER}:8080`,
      `${WAYPOINT}:8080`,
    ],
    [
      'INB-03: workload waypoint by hostname',
      { workloadWaypoint: byHostname },
      WAYPOINT,
      `${SERVER}:8080`,
      `${WAYPOINT}:8080`,
    ],
    [
      'INB-04: workload waypoint with PROXY tunnel',
      { workloadWaypoint: byVip, tunnel: PROXY },
      WAYPOINT,
      `${SERVER}:8080`,
      `${WAYPOINT}:15088 header ${SERVER}:8080`,
    ],
    [
      'INB-05: service waypoint by pod IP',
      { serviceWaypoint: byIp },
      WAYPOINT,
      `${VIP}:8080`,
      `${WAYPOINT}:8080`,
    ],
    [
      'INB-05: service waypoint by VIP',
      { serviceWaypoint: byVip },
      WAYPOINT,
      `${VIP}:8080`,
      `${WAYPOINT}:8080`,
    ],
    [
      'INB-06: service waypoint with PROXY tunnel',
      { serviceWaypoint: byVip, tunnel: PROXY },
      WAYPOINT,
      `${VIP}:8080`,
      `${WAYPOINT}:15088 header ${VIP}:8080`,
    ],
    ['INB-07: server pod, authority of the client pod', {}, SERVER, `${CLIENT}:8080`, '400 IPMismatch'],
    ['INB-08: waypoint pod, authority of the client pod', {}, WAYPOINT, `${CLIENT}:8080`, '400 IPMismatch'],
    [
      'INB-09: service waypoint, authority of the server pod',
      { serviceWaypoint: byVip },
      WAYPOINT,
      `${SERVER}:8080`,
      '400 IPMismatch',
    ],
    [
      'INB-10: workload waypoint, authority of the VIP',
      { workloadWaypoint: byVip },
      WAYPOINT,
      `${VIP}:8080`,
      '400 IPMismatch',
    ],
    ["someone else's waypoint", { serviceWaypoint: byVip }, WAYPOINT_2, `${VIP}:8080`, '400 IPMismatch'],
    ['an authority that nothing knows', {}, SERVER, '9.9.9.9:8080', '400 IPMismatch'],
    ['INB-13: unknown hostname', {}, SERVER, 'nobody.example.com:80', '503 NoHostname'],
    ['INB-13: undeclared port', {}, SERVER, 'server.example.com:81', '503 NoPortForServices'],
    ['INB-13: named port that the endpoint maps', {}, SERVER, 'server.example.com:90', `${SERVER}:9090`],
    [
      'INB-13: target 0 without endpoint mapping',
      {},
      WAYPOINT,
      'server.example.com:90',
      '503 NoPortForServices',
    ],
    ['INB-14: port 15001', {}, SERVER, `${SERVER}:15001`, '503 SelfCall'],
    ['INB-14: port 15006', {}, SERVER, `${SERVER}:15006`, '503 SelfCall'],
    ['INB-14: port 15008 by hostname', {}, SERVER, 'server.example.com:15008', '503 SelfCall'],
    ['INB-15: authority without port', {}, SERVER, 'foo', '400 NoValidAuthority'],
    ['INB-15: no authority', {}, SERVER, undefined, '400 NoValidAuthority'],
  ];
  for (const [title, config, to, authority, expected] of rows) {
    test(title, () => assert.equal(inbound(config, to, authority), expected));
  }

  test('INB-15: a method other than CONNECT', () => {
    assert.equal(inbound({}, SERVER, `${SERVER}:8080`, 'GET'), '400 NonConnectMethod');
  });

  test('a canary waypoint of the weighted set is accepted', () => {
    const state = setup({});
    const weightedWaypoints = [{ destination: byVip, weight: 5 }];
    const weighted = service('server', {
      vips: [vip(VIP)],
      weightedWaypoints,
      waypoint: gateway('/10.0.0.9'),
    });
    state.apply([{ kind: 'service', service: weighted }]);
    const decision = resolveInbound(state, NODE, {
      method: 'CONNECT',
      authority: `${VIP}:80`,
      destination: { ip: WAYPOINT, port: 15008 },
      workload: state.workload('waypoint') as Workload,
    });
    assert.equal(decision.kind, 'accepted');
  });

  test('INB-04: a PROXY tunnel is delivered to loopback of the pod family, or to the pod when that is off', () => {
    const state = setup({ tunnel: PROXY });
    const ask = (localhostApplicationTunnel: boolean, ip: string = WAYPOINT) => {
      const request = { method: 'CONNECT', authority: `${VIP}:80`, destination: { ip, port: 15008 } };
      const local = state.workload('waypoint') as Workload;
      const decision = resolveInbound(state, NODE, {
        ...request,
        workload: local,
        localhostApplicationTunnel,
      });
      return (
        decision.kind === 'accepted' && [decision.connect.ip, decision.connect.port, decision.preserveSource]
      );
    };
    assert.deepEqual(ask(true), ['127.0.0.1', 15088, false]);
    assert.deepEqual(ask(true, 'fd00::3'), ['::1', 15088, false]);
    assert.deepEqual(ask(false), [WAYPOINT, 15088, true]);
  });

  test('the PROXY header of a hostname call names a VIP: own network, then IPv4; none fails', () => {
    const ask = (vips: { network: string; ip: string }[]) => {
      const state = setup({ tunnel: PROXY });
      state.apply([{ kind: 'service', service: service('server', { vips }) }]);
      const decision = resolveInbound(state, NODE, {
        method: 'CONNECT',
        authority: 'server.example.com:80',
        destination: { ip: WAYPOINT, port: 15008 },
        workload: state.workload('waypoint') as Workload,
      });
      return decision.kind === 'refused' ? decision.category : decision.proxyHeaderDestination;
    };
    assert.deepEqual(ask([vip('10.1.1.1', 'far'), vip('fd00::9'), vip(VIP)]), { ip: VIP, port: 80 });
    assert.deepEqual(ask([vip('10.1.1.1', 'far')]), { ip: '10.1.1.1', port: 80 });
    assert.equal(ask([]), 'NoIPForService');
  });

  test('plaintext to a port of the proxy is refused', () => {
    assert.equal(refusePlaintext({ ip: SERVER, port: 15006 })?.category, 'SelfCall');
    assert.equal(refusePlaintext({ ip: SERVER, port: 8080 }), undefined);
  });
});

describe('inbound telemetry', () => {
  const [first, second] = [service('first'), service('second', { ports: new Map([[80, 9090]]) })];
  const member = workload('member', {
    addresses: [CLIENT],
    services: new Map([...memberOf('first'), ...memberOf('second'), ...memberOf('mapped', [[80, 7070]])]),
  });
  const mapped = service('mapped', { ports: new Map([[80, 0]]) });
  const state = mesh(first, second, mapped, member);

  const rows: [string, number, string | undefined, string | undefined][] = [
    ['the forwarded host', 8080, 'second.example.com', 'second'],
    ['the port, when the forwarded host is none of its services', 9090, 'x.example.com', 'second'],
    ['the first with that target port', 8080, undefined, 'first'],
    ["the endpoint's own mapping", 7070, undefined, 'mapped'],
    ['nothing', 1234, undefined, undefined],
  ];
  for (const [title, port, host, expected] of rows) {
    test(`names the service by ${title}`, () => {
      assert.equal(inboundService(member, servicesOfWorkload(state, member), port, host)?.name, expected);
    });
  }

  test('INB-26: a peer on another network is not looked up; letter case does not matter', () => {
    const named = mesh(workload('peer', { addresses: [CLIENT], network: 'Net' }));
    const ask = (header: string | undefined) =>
      inboundSourceWorkload(named, { network: 'Net' }, CLIENT, header)?.uid;
    assert.deepEqual(
      [ask(undefined), ask('nET'), ask('other'), ask('')],
      ['peer', 'peer', undefined, undefined],
    );
  });
});
