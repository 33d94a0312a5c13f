import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import type { Why } from '@kmesh/api';
import { isKmeshError, type MeshUpdate, type Service, type Workload } from '@kmesh/api';
import { routeRecord, serviceRecord, workloadRecord } from '@kmesh/api/testing';
import { MeshState } from '@kmesh/orchestration';
import type { ConnectOutcome } from '@kmesh/runtime';
import { explainConnection, type WhySources } from '../../src/admin/why.ts';

function workload(name: string, ip: string, change: Partial<Workload> = {}): MeshUpdate {
  return {
    kind: 'workload',
    workload: workloadRecord({
      uid: name,
      name,
      namespace: 'shop',
      addresses: [ip],
      serviceAccount: name,
      node: 'node1',
      ...change,
    }),
  };
}

function service(name: string, ip: string | undefined, change: Partial<Service> = {}): MeshUpdate {
  return {
    kind: 'service',
    service: serviceRecord({
      name,
      namespace: 'shop',
      vips: ip === undefined ? [] : [{ network: '', ip }],
      ports: new Map([[80, 8080]]),
      ...change,
    }),
  };
}

const of = (name: string, ports: readonly (readonly [number, number])[] = []) =>
  new Map([[`shop/${name}.shop.svc.cluster.local`, new Map(ports)]]);

const named = (name: string) => `${name}.shop.svc.cluster.local`;
const canary = routeRecord({ hosts: [named('canary')], namespace: 'shop', name: 'canary' }, [
  { hostname: named('web'), weight: 4 },
  { hostname: named('empty'), weight: 1 },
]);

const state = new MeshState({ node: 'node1' });
state.apply([
  service('web', '10.96.0.1'),
  service('guarded', '10.96.0.2', {
    waypoint: { destination: { kind: 'address', network: '', ip: '10.0.0.9' }, hboneMtlsPort: 15008 },
  }),
  service('empty', '10.96.0.3'),
  service('headless', undefined),
  service('canary', '10.96.0.4'),
  { kind: 'route', route: canary },
  workload('client', '10.0.0.1'),
  workload('away', '10.9.0.1', { node: 'node2' }),
  workload('web-1', '10.0.0.2', { services: of('web') }),
  workload('web-2', '10.0.0.3', { services: of('web'), capacity: 3 }),
  workload('web-3', '10.0.0.4', { services: of('web'), protocol: 'HBONE', capacity: 0 }),
  workload('waypoint', '10.0.0.9', { protocol: 'HBONE' }),
  workload('vault', '10.0.0.5', { protocol: 'HBONE', authorizationPolicies: ['shop/clients'] }),
  {
    kind: 'policy',
    policy: {
      name: 'clients',
      namespace: 'shop',
      scope: 'WorkloadSelector',
      action: 'Allow',
      dryRun: false,
      rules: [[[{ principals: [{ kind: 'Exact', value: 'cluster.local/ns/shop/sa/client' }] }]]],
    },
  },
]);

type Reason = ConnectOutcome['reason'];

/** Ids of the workloads that the tables may draw. */
const workloadIds = ['', 'web-1', 'web-2'];

/** @param table result of the kernel tables for the connect, or that there are none */
function ask(
  source: string,
  destination: string,
  table: Reason | readonly ConnectOutcome[] | 'off' = 'tunnelFrontend',
): Why {
  const outcomes = typeof table === 'string' ? [{ reason: table as Reason, share: 1, workload: 0 }] : table;
  const kernel: WhySources['kernel'] =
    table === 'off'
      ? undefined
      : {
          connectOutcomes: (uid) => (uid === 'away' ? undefined : outcomes),
          workloadUid: (id) => workloadIds[id],
        };
  return explainConnection(
    {
      state,
      node: { node: 'node1', network: '', clusterDomain: 'cluster.local' },
      kernel,
      kernelPathOff: 'KMESH_KERNEL_PATH=false',
    },
    source,
    destination,
  );
}

const balanced = (workload: number, share: number, ip: string): ConnectOutcome => ({
  ...{ reason: 'kernelBalanced', share, workload, address: { ip, port: 8080 } },
});

function text(why: Why, step?: string): string {
  return why.steps
    .filter((one) => step === undefined || one.step === step)
    .map((one) => one.text)
    .join('\n');
}

test('a route is shown with its shares, and each backend as an outcome, a refused one too', () => {
  const why = ask('shop/client', 'shop/canary:80');
  assert.equal(
    text(why, 'route'),
    'route shop/canary is applied by connection: shop/web.shop.svc.cluster.local:80 80 %, ' +
      'shop/empty.shop.svc.cluster.local:80 20 %\n' +
      'route shop/canary chose backend shop/web.shop.svc.cluster.local:80\n' +
      'tcp to 10.0.0.3:8080',
  );
  const shares = why.outcomes.map(({ share, verdict, workload: server }) => [
    Math.round(share * 100),
    verdict,
    server,
  ]);
  assert.deepEqual(shares, [
    [60, 'allowed', 'shop/web-2'],
    [20, 'allowed', 'shop/web-1'],
    [20, 'refused', ''],
  ]);
});

describe('the forms of a destination', () => {
  for (const { destination, dialled } of [
    { destination: '10.96.0.1:80', dialled: '10.96.0.1:80' },
    { destination: '10.96.0.1', dialled: '10.96.0.1:80' },
    { destination: 'shop/web:80', dialled: '10.96.0.1:80' },
    { destination: 'shop/web', dialled: '10.96.0.1:80' },
    { destination: 'shop/web.shop.svc.cluster.local:81', dialled: '10.96.0.1:81' },
    { destination: 'web', dialled: '10.96.0.1:80' },
    { destination: 'web.shop:80', dialled: '10.96.0.1:80' },
    { destination: 'web.shop.svc:80', dialled: '10.96.0.1:80' },
    { destination: 'WEB.shop.svc.cluster.local.', dialled: '10.96.0.1:80' },
    { destination: 'shop/vault:443', dialled: '10.0.0.5:443' },
    { destination: '[fd00::1]:443', dialled: '[fd00::1]:443' },
    { destination: 'fd00:0::1', dialled: '[fd00::1]:80' },
  ]) {
    test(`${destination} is ${dialled}`, () => {
      assert.equal(ask('shop/client', destination).destination, dialled);
    });
  }

  for (const { source, destination, says } of [
    { source: 'client', destination: 'web', says: /"client" is neither namespace\/name of a pod nor an IP/ },
    { source: 'shop/nobody', destination: 'web', says: /no workload is called shop\/nobody/ },
    { source: '10.7.7.7', destination: 'web', says: /no workload of the mesh has the address 10\.7\.7\.7/ },
    {
      source: 'shop/client',
      destination: 'nothing',
      says: /nothing in the mesh is called nothing: give an IP/,
    },
    { source: 'shop/client', destination: 'web:http', says: /"http" is not a port: 1 to 65535/ },
    { source: 'shop/client', destination: 'web:70000', says: /"70000" is not a port/ },
    { source: 'shop/client', destination: 'shop/headless:80', says: /has no address of its own/ },
  ]) {
    test(`${source} to ${destination} is refused, and the error names the allowed forms`, () => {
      assert.throws(
        () => ask(source, destination),
        (error: unknown) => isKmeshError(error, 'KMESH_QUESTION') && says.test(error.message),
      );
    });
  }
});

test('endpoints are listed with their share of the draws; one of weight 0 gets none', () => {
  const why = ask('shop/client', 'shop/web:80', [
    balanced(1, 0.25, '10.0.0.2'),
    balanced(2, 0.75, '10.0.0.3'),
  ]);
  assert.match(
    text(why, 'endpoint'),
    /3 endpoints; 3 can take port 80, 2 may be drawn: shop\/web-1:8080 25 %, shop\/web-2:8080 75 %/,
  );
  assert.deepEqual([why.verdict, why.path], ['allowed', 'kernel']);
  assert.deepEqual(
    why.outcomes.map(({ workload, address, share, reason }) => ({ workload, address, share, reason })),
    [
      { workload: 'shop/web-2', address: '10.0.0.3:8080', share: 0.75, reason: 'balanced' },
      { workload: 'shop/web-1', address: '10.0.0.2:8080', share: 0.25, reason: 'balanced' },
    ],
  );
});

test('endpoints on the tunnel path keep their share, and the path varies', () => {
  const why = ask('shop/client', 'shop/web:80', [
    balanced(1, 0.25, '10.0.0.2'),
    { reason: 'tunnelEndpoint', share: 0.75, workload: 2 },
  ]);
  assert.deepEqual([why.verdict, why.path], ['allowed', 'varies']);
  assert.deepEqual(
    why.outcomes.map(({ path, reason, workload, share }) => [path, reason, workload, share]),
    [
      ['tunnel', 'passthrough', 'shop/web-2', 0.75],
      ['kernel', 'balanced', 'shop/web-1', 0.25],
    ],
  );
});

test('without a kernel path the tunnel draws, in the shares of the weights', () => {
  const { outcomes } = ask('shop/client', 'shop/web:80', 'off');
  assert.deepEqual(
    outcomes.map(({ path, workload, share }) => [path, workload, share]),
    [
      ['tunnel', 'shop/web-2', 0.75],
      ['tunnel', 'shop/web-1', 0.25],
    ],
  );
});

test('a policy at the destination decides, and is named', () => {
  assert.equal(ask('shop/client', 'shop/vault:443').verdict, 'allowed');
  const denied = ask('shop/web-1', 'shop/vault:443');
  assert.deepEqual([denied.verdict, denied.path], ['denied', 'tunnel']);
  assert.match(text(denied, 'policy'), /at shop\/vault: not allowed.*considered: shop\/clients/);
});

test('a name of the mesh shows the DNS answer, any other name that the resolvers answer', () => {
  assert.match(
    text(ask('shop/client', 'web'), 'address'),
    /DNS: the mesh answers web from service shop\/web\.shop\.svc\.cluster\.local, found as web\.shop\.svc\.cluster\.local: /,
  );
  assert.throws(() => ask('shop/client', 'www.example.org'), /resolved by the resolvers of the pod/);
});

test('a waypoint between source and destination is named', () => {
  const why = ask('shop/client', 'shop/guarded:80');
  assert.match(text(why, 'waypoint'), /through waypoint shop\/waypoint/);
  assert.equal(why.path, 'tunnel');
});

test('no endpoint means refused, before any policy', () => {
  const why = ask('shop/client', 'shop/empty:80', 'refusedEmpty');
  assert.deepEqual([why.verdict, why.path], ['refused', 'none']);
  assert.match(text(why, 'route'), /has no usable endpoint/);
  assert.match(text(why, 'policy'), /not asked/);
});

for (const { what, table, path, says } of [
  { what: 'the kernel path is off', table: 'off', path: 'tunnel', says: /KMESH_KERNEL_PATH=false/ },
  {
    what: 'the tables leave the address to the tunnel',
    table: 'tunnelFrontend',
    path: 'tunnel',
    says: /leave this/,
  },
  { what: 'the tables keep the address', table: 'kernelWorkload', path: 'kernel', says: /is kept/ },
  {
    what: 'the tables do not change the address',
    table: 'outsidePassthrough',
    path: 'kernel',
    says: /leave the dialled address alone/,
  },
  { what: 'the pod calls itself', table: 'outsideLoopback', path: 'outside', says: /calls itself/ },
  { what: 'no endpoint can answer', table: 'refusedEmpty', path: 'none', says: /no endpoint can answer/ },
] as const) {
  test(`the path is ${path} when ${what}`, () => {
    const why = ask('shop/client', 'shop/web:80', table);
    assert.equal(why.path, path);
    assert.match(text(why, 'path'), says);
  });
}

test("the decision about a source on another node is shown as that node's", () => {
  const why = ask('shop/away', 'shop/web:80');
  assert.match(text(why, 'source'), /on node node2, whose own proxy decides/);
  assert.equal(why.path, 'tunnel');
});
