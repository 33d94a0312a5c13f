import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { MeshUpdate, Service, Workload } from '@kmesh/api';
import { serviceRecord, workloadRecord } from '@kmesh/api/testing';
import { MeshState } from '@kmesh/orchestration';
import {
  kmeshChoice4Layout,
  kmeshChoice6Layout,
  kmeshEndpointLayout,
  kmeshSettingsLayout,
  kmeshSlot4Layout,
  kmeshSlot6Layout,
} from '../../src/tables/gen/layouts.ts';
import { KernelTables } from '../../src/tables/kernel-tables.ts';
import { type FakeCapacities, fakeMaps } from './fake-maps.ts';
import { liveFrontends, readFrontend } from './read-frontend.ts';

const vip = (ip: string) => [{ network: '', ip }];

function service(fields: Partial<Service> & { hostname: string }): MeshUpdate {
  const defaults = { name: '', ports: new Map([[80, 8080]]) };
  return { kind: 'service', service: serviceRecord({ ...defaults, ...fields }) };
}

function workload(fields: Partial<Workload> & { uid: string }, ...services: string[]): MeshUpdate {
  const defaults = {
    name: '',
    trustDomain: '',
    serviceAccount: '',
    canonicalName: '',
    canonicalRevision: '',
    workloadName: '',
    services: new Map(services.map((key) => [key, new Map()])),
    clusterId: '',
  };
  return { kind: 'workload', workload: workloadRecord({ ...defaults, ...fields }) };
}

/** Tables over a mesh state, with an observable barrier. */
function fixture(capacities: FakeCapacities = {}) {
  const view = new MeshState();
  const maps = fakeMaps(capacities);
  let barriers = 0;
  const tables = new KernelTables({
    view,
    node: { node: '', network: '', clusterId: '' },
    maps,
    barrier: async () => void barriers++,
  });
  return {
    view,
    maps,
    tables,
    barriers: () => barriers,
    apply: (...updates: MeshUpdate[]) => tables.apply(view.apply(updates)),
    /** Actions of an address by `namespace:port`. */
    actions: (ip: string) =>
      Object.fromEntries(
        tables.frontendsOf(ip).map((entry) => [`${entry.namespaceId}:${entry.port}`, entry.action]),
      ),
    /** IPs and ports behind a service port, read from the kernel arrays; `tunnel` for tunnel slots. */
    endpoints(ip: string, port: number, family: 4 | 6 = 4): string[] {
      const entry = readFrontend(maps, { ip }, 0, port);
      const { base, count } = (family === 4 ? entry?.range4 : entry?.range6) ?? { base: 0, count: 0 };
      const slots = new DataView(maps.endpoints.bytes);
      const [slot, choice] =
        family === 4 ? [kmeshSlot4Layout, kmeshChoice4Layout] : [kmeshSlot6Layout, kmeshChoice6Layout];
      return Array.from({ length: count }, (_, index) => {
        const at = base * kmeshSlot4Layout.size + index * slot.size + slot.choices;
        const endpoint = at + choice.endpoint;
        if (slots.getUint16(endpoint + kmeshEndpointLayout.flags, true) !== 0) return 'tunnel';
        const host = Array.from({ length: 4 }, (_unused, byte) => slots.getUint8(at + choice.address + byte));
        return `${host.join('.')}:${slots.getUint16(endpoint + kmeshEndpointLayout.portBe)}`;
      }).sort();
    },
    incomplete: () => new DataView(maps.settings).getUint32(kmeshSettingsLayout.incomplete, true),
    refused: (table: string) => tables.usage().find((usage) => usage.table === table)?.refused ?? {},
  };
}

test('a service is balanced over its endpoints and its undeclared ports are refused', async () => {
  const mesh = fixture();
  await mesh.apply(
    service({ hostname: 'a', vips: vip('10.0.0.1') }),
    workload({ uid: 'w1', addresses: ['10.1.0.1'] }, 'default/a'),
    workload({ uid: 'w2', addresses: ['10.1.0.2'] }, 'default/a'),
  );
  assert.deepEqual(mesh.actions('10.0.0.1'), { '0:0': 'refuse', '0:80': 'balance' });
  assert.deepEqual(mesh.endpoints('10.0.0.1', 80), ['10.1.0.1:8080', '10.1.0.2:8080']);
  assert.deepEqual(mesh.actions('10.1.0.1'), { '0:0': 'workload' });
});

test('NEG-20: a service with 11 and with 30 ports has all of them, and a workload may be in 11 services', async () => {
  const mesh = fixture();
  const ports = (count: number) =>
    new Map(Array.from({ length: count }, (_, index) => [1000 + index, 2000 + index]));
  const names = Array.from({ length: 11 }, (_, index) => `default/s${index}`);
  await mesh.apply(
    ...names.map((key, index) =>
      service({
        hostname: key.slice(8),
        vips: vip(`10.0.0.${index + 1}`),
        ports: ports(index === 0 ? 30 : 11),
      }),
    ),
    workload({ uid: 'w1', addresses: ['10.1.0.1'] }, ...names),
  );
  assert.equal(mesh.tables.frontendsOf('10.0.0.1').length, 31);
  for (let index = 0; index < 30; index++) {
    assert.deepEqual(mesh.endpoints('10.0.0.1', 1000 + index), [`10.1.0.1:${2000 + index}`]);
  }
  for (let index = 1; index < 11; index++) {
    assert.deepEqual(mesh.endpoints(`10.0.0.${index + 1}`, 1010), ['10.1.0.1:2010']);
  }
});

test('NEG-21: endpoints of one service port keep their own target ports', async () => {
  const mesh = fixture();
  await mesh.apply(
    service({ hostname: 'a', vips: vip('10.0.0.1'), ports: new Map([[80, 0]]) }),
    workload({
      uid: 'w1',
      addresses: ['10.1.0.1'],
      services: new Map([['default/a', new Map([[80, 8001]])]]),
    }),
    workload({
      uid: 'w2',
      addresses: ['10.1.0.2'],
      services: new Map([['default/a', new Map([[80, 8002]])]]),
    }),
  );
  assert.deepEqual(mesh.endpoints('10.0.0.1', 80), ['10.1.0.1:8001', '10.1.0.2:8002']);
});

test('NEG-24: a service with waypoint in its name, or with port 15021, is compiled like any other', async () => {
  const mesh = fixture();
  await mesh.apply(
    service({ hostname: 'my-waypoint', vips: vip('10.0.0.1'), ports: new Map([[15021, 15021]]) }),
    workload({ uid: 'w1', addresses: ['10.1.0.1'] }, 'default/my-waypoint'),
  );
  assert.deepEqual(mesh.endpoints('10.0.0.1', 15021), ['10.1.0.1:15021']);
});

test('NEG-25: a PASSTHROUGH service is left at its original destination', async () => {
  const mesh = fixture();
  const loadBalancer = { mode: 'Passthrough', healthPolicy: 'OnlyHealthy', routingPreferences: [] } as const;
  await mesh.apply(service({ hostname: 'a', vips: vip('10.0.0.1'), loadBalancer }));
  assert.deepEqual(mesh.actions('10.0.0.1'), { '0:0': 'outside' });
});

test('NEG-19: a dual-stack service has one range for each family', async () => {
  const mesh = fixture();
  await mesh.apply(
    service({ hostname: 'a', vips: [...vip('10.0.0.1'), ...vip('fd00::1')] }),
    workload({ uid: 'w1', addresses: ['10.1.0.1', 'fd01::1'] }, 'default/a'),
    workload({ uid: 'w2', addresses: ['10.1.0.2'] }, 'default/a'),
  );
  assert.deepEqual(mesh.endpoints('10.0.0.1', 80), ['10.1.0.1:8080', '10.1.0.2:8080']);
  assert.deepEqual(mesh.endpoints('fd00::1', 80, 6).includes('tunnel'), true, 'w2 has no IPv6 address');
});

test('endpoints that need the tunnel have a slot each if another endpoint does not, else they share slot 0', async () => {
  const mesh = fixture();
  await mesh.apply(
    service({ hostname: 'a', vips: vip('10.0.0.1') }),
    service({ hostname: 'b', vips: vip('10.0.0.2') }),
    workload({ uid: 'w1', addresses: ['10.1.0.1'] }, 'default/a'),
    workload({ uid: 'w2', addresses: ['10.1.0.2'], protocol: 'HBONE' }, 'default/a', 'default/b'),
    workload({ uid: 'w3', addresses: ['10.1.0.3'], protocol: 'HBONE' }, 'default/a', 'default/b'),
  );
  assert.deepEqual(mesh.endpoints('10.0.0.1', 80), ['10.1.0.1:8080', 'tunnel', 'tunnel']);
  assert.deepEqual(mesh.endpoints('10.0.0.2', 80), ['tunnel']);
  assert.deepEqual(mesh.actions('10.1.0.2'), { '0:0': 'tunnel' });
});

test('LBA-18: Strict without a local endpoint refuses', async () => {
  const mesh = fixture();
  const loadBalancer = {
    mode: 'Strict',
    healthPolicy: 'OnlyHealthy',
    routingPreferences: ['Region'],
  } as const;
  const elsewhere = { region: 'r2', zone: '', subzone: '' };
  await mesh.apply(
    service({ hostname: 'a', vips: vip('10.0.0.1'), loadBalancer }),
    workload({ uid: 'w1', addresses: ['10.1.0.1'], locality: elsewhere }, 'default/a'),
  );
  assert.deepEqual(mesh.actions('10.0.0.1'), { '0:0': 'refuse', '0:80': 'balance' });
  assert.deepEqual(mesh.endpoints('10.0.0.1', 80), []);
});

test('the locality of the first pod ranks the endpoints, and a pod elsewhere is not enrolled', async () => {
  const mesh = fixture();
  const loadBalancer = {
    mode: 'Failover',
    healthPolicy: 'OnlyHealthy',
    routingPreferences: ['Region'],
  } as const;
  const region = (name: string) => ({ region: name, zone: '', subzone: '' });
  await mesh.apply(
    service({ hostname: 'a', vips: vip('10.0.0.1'), loadBalancer }),
    workload({ uid: 'w1', addresses: ['10.1.0.1'], locality: region('r1') }, 'default/a'),
    workload({ uid: 'w2', addresses: ['10.1.0.2'], locality: region('r2') }, 'default/a'),
  );
  const client = mesh.view.workload('w1');
  const stranger = mesh.view.workload('w2');
  assert.ok(client !== undefined && stranger !== undefined);
  assert.equal(mesh.tables.enrol(1n, client, false), true);
  await mesh.apply();
  assert.deepEqual(mesh.endpoints('10.0.0.1', 80), ['10.1.0.1:8080']);
  assert.equal(mesh.tables.enrol(2n, stranger, false), false);
  assert.deepEqual(mesh.refused('pods'), { 'other-locality': 1 });
});

test('namespaces with a different view of an address have separate entries', async () => {
  const mesh = fixture();
  await mesh.apply(
    service({ hostname: 'a', namespace: 'one', vips: vip('10.0.0.1'), ports: new Map([[80, 8080]]) }),
    service({
      hostname: 'b',
      namespace: 'two',
      vips: vip('10.0.0.1'),
      ports: new Map([[90, 9090]]),
      visibility: 'Namespace',
    }),
  );
  const own = mesh.tables.frontendsOf('10.0.0.1').filter(({ namespaceId }) => namespaceId !== 0);
  assert.deepEqual(own.map(({ port, action }) => [port, action]).sort(), [
    [0, 'refuse'],
    [80, 'refuse'],
    [90, 'balance'],
  ]);
  assert.deepEqual(
    mesh.tables
      .frontendsOf('10.0.0.1')
      .filter(({ namespaceId }) => namespaceId === 0)
      .map(({ port, action, scoped }) => [port, action, scoped])
      .sort(),
    [
      [0, 'refuse', true],
      [80, 'balance', true],
      [90, 'refuse', true],
    ],
  );
});

test('only differences are written', async () => {
  const mesh = fixture();
  const records = [
    service({ hostname: 'a', vips: vip('10.0.0.1') }),
    workload({ uid: 'w1', addresses: ['10.1.0.1'] }, 'default/a'),
  ];
  await mesh.apply(...records);
  const barriers = mesh.barriers();
  const before = Buffer.from(mesh.maps.frontends.bytes.slice(0));
  await mesh.apply(...records);
  assert.equal(before.equals(Buffer.from(mesh.maps.frontends.bytes)), true);
  assert.equal(mesh.barriers(), barriers, 'without a replaced range there is no barrier');
});

test('an old range is reused only after the barrier, and changes of one turn share one', async () => {
  const mesh = fixture();
  await mesh.apply(
    service({ hostname: 'a', vips: vip('10.0.0.1') }),
    workload({ uid: 'w1', addresses: ['10.1.0.1'] }, 'default/a'),
  );
  const barriers = mesh.barriers();
  await Promise.all([
    mesh.apply(workload({ uid: 'w2', addresses: ['10.1.0.2'] }, 'default/a')),
    mesh.apply(workload({ uid: 'w3', addresses: ['10.1.0.3'] }, 'default/a')),
  ]);
  assert.equal(mesh.barriers(), barriers + 1);
  assert.equal(mesh.endpoints('10.0.0.1', 80).length, 3);
});

test('BPF-07: endpoints that do not fit are left to the tunnel path, and the refusal is counted', async () => {
  const mesh = fixture({ endpoints: 4 });
  const updates = Array.from({ length: 5 }, (_, index) =>
    workload({ uid: `w${index}`, addresses: [`10.1.0.${index + 1}`] }, 'default/a'),
  );
  await mesh.apply(service({ hostname: 'a', vips: vip('10.0.0.1') }), ...updates);
  assert.deepEqual(mesh.endpoints('10.0.0.1', 80), ['tunnel']);
  assert.deepEqual(mesh.refused('endpoints'), { 'table-full': 1 });
});

test('BPF-07: an address that does not fit takes the tunnel path, and in a full table every unknown address does', async () => {
  const mesh = fixture({ frontends: 4 });
  const ports = new Map([
    [80, 1],
    [81, 1],
  ]);
  await mesh.apply(service({ hostname: 'a', vips: vip('10.0.0.1'), ports }));
  await mesh.apply(service({ hostname: 'b', vips: vip('10.0.0.2') }));
  assert.deepEqual(mesh.actions('10.0.0.2'), { '0:0': 'tunnel' });
  assert.equal(mesh.incomplete(), 0);
  await mesh.apply(service({ hostname: 'c', vips: vip('10.0.0.3') }));
  assert.equal(mesh.incomplete(), 1);
  assert.deepEqual(mesh.refused('frontends'), { 'table-full': 2 });
  await mesh.apply({ kind: 'removeService', key: 'default/a' });
  await mesh.apply(service({ hostname: 'd' }));
  assert.equal(mesh.incomplete(), 0, 'once there is room, refused endpoints are added');
});

test('a fifth pod in a bucket of four is refused and counted', () => {
  const mesh = fixture({ podBuckets: 1 });
  const update = workload({ uid: 'w1', addresses: ['10.1.0.1'] });
  assert.ok(update.kind === 'workload');
  for (let cookie = 1n; cookie <= 4n; cookie++)
    assert.equal(mesh.tables.enrol(cookie, update.workload, true), true);
  assert.equal(mesh.tables.enrol(5n, update.workload, true), false);
  assert.deepEqual(mesh.refused('pods'), { 'bucket-full': 1 });
  assert.equal(mesh.tables.remove(1n), true);
  assert.equal(mesh.tables.enrol(5n, update.workload, true), true);
});

test('CIDR services are found by prefix, in the own namespace first', async () => {
  const mesh = fixture();
  await mesh.apply(
    service({ hostname: 'a', namespace: 'one', cidrVips: [{ network: '', cidr: '10.5.0.0/16' }] }),
    workload({ uid: 'w1', addresses: ['10.1.0.1'] }, 'one/a'),
  );
  assert.equal(mesh.maps.cidrFrontends.entries.size, 2, 'one for all, one for the own namespace');
  assert.equal(new DataView(mesh.maps.settings).getUint32(kmeshSettingsLayout.cidrFrontends, true), 2);
  await mesh.apply({ kind: 'removeService', key: 'one/a' });
  assert.equal(mesh.maps.cidrFrontends.entries.size, 0);
  assert.equal(liveFrontends(mesh.maps), 1, 'only the workload is left');
});
