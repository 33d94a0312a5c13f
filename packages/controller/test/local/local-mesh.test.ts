import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { isKmeshError } from '@kmesh/api';
import { memoryLogger } from '@kmesh/api/testing';
import { MeshState } from '@kmesh/orchestration';
import { dumpWorkload } from '../../src/admin/dump-model.ts';
import { readConfig } from '../../src/config/config.ts';
import { followLocalMesh } from '../../src/daemon/local-mesh.ts';
import { localMeshUpdates, parseLocalMesh } from '../../src/local/local-mesh.ts';

const FULL = `
workloads:
- workloadIps: [10.0.0.1, "FD00:0::1"]
  namespace: ns
  services:
    ns/a.example.com: { 80: 8080, "443": 8443 }
  uid: cluster//Pod/ns/w
  name: w
  serviceAccount: sa
  trustDomain: td
  protocol: HBONE
  networkMode: HostNetwork
  network: n
  node: node-1
  hostname: w.example.com
  waypoint: { destination: n/10.0.0.9, hboneMtlsPort: 15008 }
  networkGateway: { destination: ns/gw.example.com, hboneMtlsPort: 15009 }
  workloadName: deploy
  workloadType: cronjob
  canonicalName: app
  canonicalRevision: v1
  clusterId: c
  nativeTunnel: true
  applicationTunnel: { protocol: PROXY, port: 15088 }
  authorizationPolicies: [ns/p]
  status: Unhealthy
  locality: { region: r, zone: z, subzone: s }
  capacity: 3
services:
- name: a
  namespace: ns
  hostname: a.example.com
  vips: [n/10.1.0.1, /fd00::2]
  ports: { 80: 0 }
  cidrVips: [{ network: n, cidr: 10.2.3.4/16 }]
  endpoints:
    listed: { workloadUid: listed, port: { 80: 1234 }, status: Healthy }
  subjectAltNames: [spiffe://td/ns/ns/sa/sa]
  waypoint: { destination: ns/wp.example.com, hboneMtlsPort: 15008 }
  weightedWaypoints: [{ destination: { destination: n/10.0.0.9, hboneMtlsPort: 15008 }, weight: 5 }]
  loadBalancer: { routingPreferences: [Region, Zone, Subzone, Node, Cluster, Network], mode: Failover, healthPolicy: AllowAll }
  ipFamilies: IPv6
  canonical: true
  visibility: Namespace
  httpPorts: [80]
routes:
- name: split
  namespace: ns
  hosts: [a.example.com]
  exportTo: ["."]
  isGatewayApi: true
  createdAt: 7
  tcp:
  - matches: [{ port: 80, sourceNamespace: n }]
    backends: [{ hostname: v1.example.com, port: 81, weight: 90 }, { hostname: v2.example.com }]
  http:
  - backends: []
policies:
- name: p
  namespace: ns
  scope: WorkloadSelector
  action: Allow
  dryRun: true
  rules:
  - - - namespaces: [{ Exact: a }]
        notNamespaces: [{ Prefix: b }]
        principals: [{ Suffix: c }]
        notPrincipals: [{ Presence: [] }]
        serviceAccounts: [{ namespace: n, serviceAccount: s }]
        notServiceAccounts: [{ namespace: n, serviceAccount: t }]
        sourceIps: [10.0.0.0/8]
        notSourceIps: [10.0.0.1/32]
        destinationIps: ["fd00::1/64"]
        notDestinationIps: []
        destinationPorts: [80]
        notDestinationPorts: [81]
      - futureField: 1
`;

const W = 'workloads:\n- workloadIps: []\n  namespace: ns\n  services: {}\n';
const S = 'services:\n- name: a\n  namespace: ns\n  hostname: h\n  vips: []\n  ports: {}\n';
const P = 'policies:\n- name: p\n  namespace: ns\n  scope: Global\n  action: Deny\n  dryRun: false\n';

describe('the local mesh file', () => {
  test('STA-20: loads with every key set', () => {
    const mesh = parseLocalMesh(FULL, 'mesh.yaml');
    assert.deepEqual(mesh.workloads.get('cluster//Pod/ns/w'), {
      uid: 'cluster//Pod/ns/w',
      name: 'w',
      namespace: 'ns',
      addresses: ['10.0.0.1', 'fd00::1'],
      hostname: 'w.example.com',
      network: 'n',
      protocol: 'HBONE',
      trustDomain: 'td',
      serviceAccount: 'sa',
      waypoint: { destination: { kind: 'address', network: 'n', ip: '10.0.0.9' }, hboneMtlsPort: 15008 },
      networkGateway: {
        destination: { kind: 'hostname', namespace: 'ns', hostname: 'gw.example.com' },
        hboneMtlsPort: 15009,
      },
      node: 'node-1',
      canonicalName: 'app',
      canonicalRevision: 'v1',
      workloadType: 'cronjob',
      workloadName: 'deploy',
      nativeTunnel: true,
      applicationTunnel: { protocol: 'PROXY', port: 15088 },
      services: new Map([
        [
          'ns/a.example.com',
          new Map([
            [80, 8080],
            [443, 8443],
          ]),
        ],
      ]),
      authorizationPolicies: ['ns/p'],
      status: 'Unhealthy',
      clusterId: 'c',
      locality: { region: 'r', zone: 'z', subzone: 's' },
      networkMode: 'HostNetwork',
      capacity: 3,
    });
    assert.deepEqual(mesh.services.get('ns/a.example.com'), {
      name: 'a',
      namespace: 'ns',
      hostname: 'a.example.com',
      vips: [
        { network: 'n', ip: '10.1.0.1' },
        { network: '', ip: 'fd00::2' },
      ],
      cidrVips: [{ network: 'n', cidr: '10.2.0.0/16' }],
      ports: new Map([[80, 0]]),
      subjectAltNames: ['spiffe://td/ns/ns/sa/sa'],
      waypoint: {
        destination: { kind: 'hostname', namespace: 'ns', hostname: 'wp.example.com' },
        hboneMtlsPort: 15008,
      },
      weightedWaypoints: [
        {
          destination: {
            destination: { kind: 'address', network: 'n', ip: '10.0.0.9' },
            hboneMtlsPort: 15008,
          },
          weight: 5,
        },
      ],
      loadBalancer: {
        routingPreferences: ['Region', 'Zone', 'Subzone', 'Node', 'Cluster', 'Network'],
        mode: 'Failover',
        healthPolicy: 'AllowAll',
      },
      ipFamilies: 'IPv6',
      canonical: true,
      visibility: 'Namespace',
      httpPorts: new Set([80]),
    });
    assert.deepEqual(mesh.routes.get('ns/split'), {
      name: 'split',
      namespace: 'ns',
      hosts: ['a.example.com'],
      exportTo: ['.'],
      isGatewayApi: true,
      createdAt: 7,
      tcp: [
        {
          matches: [{ port: 80, sourceNamespace: 'n' }],
          backends: [
            { hostname: 'v1.example.com', port: 81, weight: 90 },
            { hostname: 'v2.example.com', port: undefined, weight: 1 },
          ],
        },
      ],
      http: [{ matches: [], backends: [] }],
      unsupported: undefined,
    });
    assert.deepEqual(mesh.policies.get('ns/p')?.rules, [
      [
        [
          {
            namespaces: [{ kind: 'Exact', value: 'a' }],
            notNamespaces: [{ kind: 'Prefix', value: 'b' }],
            principals: [{ kind: 'Suffix', value: 'c' }],
            notPrincipals: [{ kind: 'Presence' }],
            serviceAccounts: [{ namespace: 'n', serviceAccount: 's' }],
            notServiceAccounts: [{ namespace: 'n', serviceAccount: 't' }],
            sourceIps: ['10.0.0.0/8'],
            notSourceIps: ['10.0.0.1/32'],
            destinationIps: ['fd00::/64'],
            destinationPorts: [80],
            notDestinationPorts: [81],
          },
          { hasUnknownField: true },
        ],
      ],
    ]);
  });

  test('STA-20: the required keys alone load with the documented defaults', () => {
    const mesh = parseLocalMesh(`${W}${S}${P}  rules: []\n`, 'LOCAL_XDS');
    const [workload] = mesh.workloads.values();
    assert.deepEqual(
      [
        workload?.protocol,
        workload?.capacity,
        workload?.status,
        workload?.trustDomain,
        workload?.serviceAccount,
      ],
      ['TCP', 1, 'Healthy', '', ''],
    );
    assert.equal(mesh.services.get('ns/h')?.visibility, 'Public');
    assert.equal(parseLocalMesh('', 'x').workloads.size, 0);
    assert.equal(parseLocalMesh('{"workloads": null}', 'x').workloads.size, 0);
  });

  const invalid: [string, string, RegExp][] = [
    [
      'an unknown top-level key',
      'workload: []\n',
      /m\.yaml:1:1: workload is an unknown key; allowed: workloads, policies, services/,
    ],
    [
      'an unknown workload key',
      `${W}  colour: red\n`,
      /m\.yaml:5:3: workloads\[0\]\.colour is an unknown key; allowed: workloadIps/,
    ],
    [
      'a missing required key',
      'workloads:\n- namespace: ns\n  services: {}\n',
      /m\.yaml:2:3: workloads\[0\]\.workloadIps is missing/,
    ],
    [
      'a bad enum',
      `${W}  protocol: GRPC\n`,
      /m\.yaml:5:13: workloads\[0\]\.protocol is "GRPC"; allowed: TCP, HBONE/,
    ],
    [
      'a bad IP',
      'workloads:\n- workloadIps: [10.0.0.999]\n  namespace: ns\n  services: {}\n',
      /:2:17: workloads\[0\]\.workloadIps\[0\] is "10\.0\.0\.999"; allowed: an IPv4 or IPv6 address/,
    ],
    ['a number as text', `${W}  name: 12\n`, /:5:9: workloads\[0\]\.name is 12; allowed: text/],
    [
      'a port out of range',
      `${W}`.replace('{}', '{ ns/h: { 80: 70000 } }'),
      /workloads\[0\]\.services\.ns\/h\.80 is 70000; allowed: a whole number from 0 to 65535/,
    ],
    [
      'a port key that is none',
      `${S}`.replace('ports: {}', 'ports: { http: 80 }'),
      /services\[0\]\.ports\.http .*port from 1 to 65535/,
    ],
    ['a services key without slash', `${W}`.replace('{}', '{ host: {} }'), /"namespace\/hostname"/],
    ['a negative capacity', `${W}  capacity: -1\n`, /capacity is -1; allowed: a whole number/],
    [
      'a bad waypoint',
      `${W}  waypoint: { destination: nowhere, hboneMtlsPort: 1 }\n`,
      /waypoint\.destination is "nowhere"; allowed: "network\/ip" or "namespace\/hostname"/,
    ],
    ['half a waypoint', `${W}  waypoint: { destination: n/1.2.3.4 }\n`, /waypoint\.hboneMtlsPort is missing/],
    ['half a locality', `${W}  locality: { region: r }\n`, /locality\.zone is missing/],
    [
      'half a load balancer',
      `${S}  loadBalancer: { mode: Strict }\n`,
      /loadBalancer\.routingPreferences is missing/,
    ],
    ['a bad CIDR', `${S}  cidrVips: [{ network: n, cidr: 10.0.0.0/40 }]\n`, /cidr is "10\.0\.0\.0\/40"/],
    [
      'RBC-27: a bad CIDR in a policy',
      `${P}  rules: [[[{ sourceIps: [10.0.0.0/8, x] }]]]\n`,
      /sourceIps\[1\] is "x"/,
    ],
    [
      'a matcher without branch',
      `${P}  rules: [[[{ namespaces: [{}] }]]]\n`,
      /exactly one of Exact, Prefix, Suffix/,
    ],
    [
      'a matcher with two branches',
      `${P}  rules: [[[{ namespaces: [{ Exact: a, Prefix: b }] }]]]\n`,
      /exactly one of/,
    ],
    ['a list that is none', 'workloads: 3\n', /m\.yaml:1:12: workloads is 3; allowed: a list/],
    ['no YAML', 'workloads: [\n', /not valid YAML/],
    ['a repeated uid', `${W}  uid: a\n${W.replace('workloads:\n', '')}  uid: a\n`, /"a" already exists/],
    ['a repeated key', 'services: []\nservices: []\n', /:2:1: not valid YAML/],
    ['a document that is no object', '- 1\n', /the document is a list; allowed: an object with workloads/],
  ];
  for (const [title, text, message] of invalid) {
    test(`STA-20: refuses ${title}`, () => {
      assert.throws(
        () => parseLocalMesh(text, 'm.yaml'),
        (error: unknown) => {
          assert.ok(isKmeshError(error, 'KMESH_LOCAL_CONFIG_INVALID'));
          assert.match(error.message, message);
          return true;
        },
      );
    });
  }

  test('names every problem at once, but not thousands', () => {
    const many = `workloads:\n${'- colour: red\n'.repeat(200)}`;
    assert.throws(() => parseLocalMesh(many, 'm.yaml'), /and 750 more/);
  });

  test('adds the endpoints that a service lists to the workloads they name', () => {
    const text = `${W}  uid: e\n${S}  endpoints: { e: { workloadUid: e, port: { 80: 1 } }, x: { workloadUid: x, port: {} } }\n`;
    assert.equal(parseLocalMesh(text, 'm').workloads.get('e')?.services.get('ns/h')?.get(80), 1);
  });

  test('matchers read the same in both spellings of ztunnel: a map, and a tag as its own dumps have it', () => {
    const matchersOf = (list: string) =>
      parseLocalMesh(`${P}  rules:\n  - - - principals: ${list}\n`, 'mesh.yaml').policies.get('ns/p')
        ?.rules[0]?.[0]?.[0]?.principals;
    for (const [tagged, mapped] of [
      ['[!Exact a/b]', '[{ Exact: a/b }]'],
      ['[!Prefix "b c"]', '[{ Prefix: "b c" }]'],
      ['[!Suffix 12]', '[{ Suffix: "12" }]'],
      ['[!Presence []]', '[{ Presence: [] }]'],
      ['\n        - !Exact a\n        - !Presence []', '[{ Exact: a }, { Presence: [] }]'],
    ] as const) {
      const matchers = matchersOf(tagged);
      assert.ok(matchers !== undefined && matchers.length > 0);
      assert.deepEqual(matchers, matchersOf(mapped), tagged);
    }
    for (const [list, message] of [
      ['[!Other a]', /exactly one of Exact, Prefix, Suffix/],
      ['[!Presence [x]]', /an empty list/],
      ['[!Exact [a]]', /text/],
    ] as const) {
      assert.throws(() => matchersOf(list), message);
    }
    const enumerated = parseLocalMesh(
      `${P}  rules: []\n`.replace('Global', '!Namespace').replace('Deny', '!Allow'),
      'mesh.yaml',
    );
    assert.deepEqual(
      [...enumerated.policies.values()].map(({ scope, action }) => [scope, action]),
      [['Namespace', 'Allow']],
    );
  });

  test('an unknown workload type is kept, also in the dump; known types are read in any letter case', () => {
    const typeOf = (type: string) => {
      const [workload] = parseLocalMesh(`${W}  workloadType: ${type}\n`, 'mesh.yaml').workloads.values();
      assert.ok(workload);
      return [workload.workloadType, dumpWorkload(workload)['workloadType']];
    };
    assert.deepEqual(typeOf('statefulset'), ['statefulset', 'statefulset']);
    assert.deepEqual(typeOf('DaemonSet'), ['DaemonSet', 'DaemonSet']);
    assert.deepEqual(typeOf('CronJob'), ['cronjob', 'cronjob']);
  });

  test('the static configuration of the dump keeps the ports of services, and reads as a local mesh again', async () => {
    const state = new MeshState({ node: '' });
    const followed = await followLocalMesh(
      { ...readConfig({ LOCAL_XDS: FULL }, { root: '/nonexistent' }) },
      state,
      memoryLogger(),
    );
    const { workloads } = followed.dump();
    assert.deepEqual((workloads[0] as { services?: unknown }).services, {
      'ns/a.example.com': { 80: 8080, 443: 8443 },
    });
    const again = parseLocalMesh(JSON.stringify({ workloads }), 'dump');
    const once = parseLocalMesh(FULL, 'mesh.yaml');
    assert.deepEqual(
      again.workloads.get('cluster//Pod/ns/w')?.services,
      once.workloads.get('cluster//Pod/ns/w')?.services,
    );
    await followed.close();
  });

  test('random text is refused or parsed without another error', () => {
    for (let round = 0; round < FULL.length; round += 7) {
      const mutated = `${FULL.slice(0, round)}${'{[:&*-"'[round % 7]}${FULL.slice(round + 1)}`;
      try {
        parseLocalMesh(mutated, 'm');
      } catch (error) {
        assert.ok(isKmeshError(error, 'KMESH_LOCAL_CONFIG_INVALID'), String(error));
      }
    }
  });
});

describe('differences between local meshes', () => {
  const workloads = `workloads:
- { uid: w, workloadIps: [10.0.0.1], namespace: ns, services: { ns/h: {} } }
`;
  const both = parseLocalMesh(workloads + S, 'm');

  test('equal states have no difference', () =>
    assert.deepEqual(localMeshUpdates(both, parseLocalMesh(workloads + S, 'm')), []));

  test('the difference has only the changes, removals last', () => {
    const next = parseLocalMesh(`${workloads.replace('uid: w', 'uid: v')}${S}`, 'm');
    assert.deepEqual(
      localMeshUpdates(both, next).map(({ kind }) => kind),
      ['workload', 'removeWorkload'],
    );
  });

  test('a service that comes back has its endpoints again', () => {
    const without = parseLocalMesh(workloads, 'm');
    const state = new MeshState();
    state.apply(localMeshUpdates(undefined, both));
    state.apply(localMeshUpdates(both, without));
    state.apply(localMeshUpdates(without, both));
    assert.deepEqual([...state.endpoints('ns/h').keys()], ['w']);
  });
});
