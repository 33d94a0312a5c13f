import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Slicer } from '@kmesh/orchestration';
import type { FrontendEntry } from '../../src/tables/frontend-slots.ts';
import { FrontendSlots, frontendHash } from '../../src/tables/frontend-slots.ts';
import { FrontendTable } from '../../src/tables/frontend-table.ts';
import { kmeshConstant, kmeshSettingsLayout } from '../../src/tables/gen/layouts.ts';
import { ServicePorts } from '../../src/tables/service-slots.ts';
import { fakeMaps } from './fake-maps.ts';
import { liveFrontends, readFrontend } from './read-frontend.ts';

const entry = (fields: Partial<FrontendEntry>): FrontendEntry => ({
  namespaceId: 0,
  port: 0,
  action: 'refuse',
  target: 0,
  service: 0,
  scoped: false,
  ...fields,
});

function fixture(frontends = 1024) {
  const maps = fakeMaps({ frontends });
  const keys = new BigUint64Array(maps.settings, kmeshSettingsLayout.hashKeys, kmeshConstant.hashKeys);
  const slots = new FrontendSlots(maps.frontends, keys);
  const servicePorts = new ServicePorts((slot, family, range) => slots.flip(slot, family, range));
  const table = new FrontendTable(slots, servicePorts);
  return {
    maps,
    table,
    servicePorts,
    read: (ip: string, port: number, namespaceId = 0) => readFrontend(maps, { ip }, namespaceId, port),
    /** Calls `observe` after every single write of the flush, and at its barriers. */
    async flush(observe: () => void = () => {}) {
      const slicer = new Slicer(0);
      slicer.pause = async () => observe();
      let barriers = 0;
      await table.flush(slicer, async () => {
        barriers++;
        observe();
      });
      table.freeRetired();
      return barriers;
    },
  };
}

test('the hash equals its definition in 64-bit arithmetic', () => {
  for (let round = 0; round < 200; round++) {
    const keys = crypto.getRandomValues(new BigUint64Array(kmeshConstant.hashKeys));
    const words = crypto.getRandomValues(new Uint32Array(6));
    let sum = keys[0] ?? 0n;
    for (const [index, word] of [3, 4, 5, 2, 1, 0].entries())
      sum += (keys[index + 1] ?? 0n) * BigInt(words[word] ?? 0);
    assert.equal(frontendHash(keys)(words), Number(BigInt.asUintN(64, sum) >> 32n));
  }
});

test('a half-full table finds every key, and is empty when all are deleted', async () => {
  const { table, maps, read, flush } = fixture(2048);
  const ip = (index: number) =>
    index % 2 ? `10.0.${index >> 8}.${index & 255}` : `fd00::${index.toString(16)}`;
  for (let index = 0; index < 2048; index++) table.stage({ ip: ip(index) }, [entry({ service: index + 1 })]);
  await flush();
  assert.deepEqual(table.usage().refused, {});
  for (let index = 0; index < 2048; index++) assert.equal(read(ip(index), 0)?.service, index + 1);
  assert.equal(read('10.9.9.9', 0), undefined);
  for (let index = 0; index < 2048; index++) table.stage({ ip: ip(index) }, []);
  await flush();
  assert.equal(liveFrontends(maps), 0);
  assert.equal(table.usage().used, 0);
});

test('a view is written before the entry that refers to it, and removed after that entry', async () => {
  const { table, read, flush } = fixture();
  const view = () => [read('10.0.0.1', 80, 7), read('10.0.0.1', 80), read('10.0.0.1', 0)].map(Boolean);
  const seen: string[] = [];
  const entries = [entry({}), entry({ port: 80, scoped: true }), entry({ port: 80, namespaceId: 7 })];
  table.stage({ ip: '10.0.0.1' }, entries);
  await flush(() => seen.push(view().map(Number).join('')));
  assert.deepEqual(seen, ['100', '110', '111']);
  seen.length = 0;
  table.stage({ ip: '10.0.0.1' }, []);
  const barriers = await flush(() => seen.push(view().map(Number).join('')));
  assert.deepEqual([...new Set(seen)], ['110', '100', '000']);
  assert.equal(barriers, 1, 'a program that read the reference may still look up the view');
});

test('a key that balances over another port has two complete entries until a barrier, never a mixture', async () => {
  const { table, servicePorts, read, flush } = fixture();
  const [one, two] = [servicePorts.add(), servicePorts.add()];
  servicePorts.flip(one, 4, { family: 4, base: 100, size: 1 });
  servicePorts.flip(two, 4, { family: 4, base: 200, size: 2 });
  const ip = '10.0.0.1';
  table.stage({ ip }, [entry({ port: 80, action: 'balance', target: one, service: 1 })]);
  await flush();
  const first = read(ip, 80)?.slot;
  table.stage({ ip }, [entry({ port: 80, action: 'balance', target: two, service: 2 })]);
  const barriers = await flush(() => {
    const found = read(ip, 80);
    assert.equal(found?.range4.base, found?.service === 1 ? 100 : 200);
  });
  assert.equal(barriers, 1);
  assert.notEqual(read(ip, 80)?.slot, first);
  servicePorts.flip(one, 4, { family: 4, base: 300, size: 1 });
  assert.equal(read(ip, 80)?.range4.base, 200, 'changes of its former port do not affect it');
  servicePorts.flip(two, 4, { family: 4, base: 400, size: 1 });
  assert.equal(read(ip, 80)?.range4.base, 400);
});

test('an entry that one store can change keeps its slot', async () => {
  const { table, servicePorts, read, flush } = fixture();
  const target = servicePorts.add();
  const ip = 'fd00::1';
  table.stage({ ip }, [entry({ port: 80, action: 'balance', target, service: 1 })]);
  await flush();
  const slot = read(ip, 80)?.slot;
  table.stage({ ip }, [entry({ port: 80, action: 'tunnel' })]);
  assert.equal(await flush(), 0);
  assert.deepEqual([read(ip, 80)?.slot, read(ip, 80)?.action], [slot, 'tunnel']);
});

test('an address that is left to the tunnel keeps its slot, also as its meaning changes and back', async () => {
  const { table, maps, servicePorts, read, flush } = fixture();
  const target = servicePorts.add();
  const ip = '10.0.0.1';
  const tunnelled = [entry({ action: 'tunnel' })];
  table.stage({ ip }, tunnelled);
  await flush();
  const slot = read(ip, 0)?.slot;
  assert.deepEqual(
    table.entriesOf({ ip }).map(({ action, port, namespaceId }) => [action, port, namespaceId]),
    [['tunnel', 0, 0]],
  );
  table.stage({ ip }, tunnelled);
  assert.equal(table.dirty, false, 'the same meaning writes nothing');

  table.stage({ ip }, [entry({ service: 3 }), entry({ port: 80, action: 'balance', target, service: 3 })]);
  await flush();
  assert.deepEqual([read(ip, 0)?.slot, read(ip, 0)?.action], [slot, 'refuse']);
  assert.equal(read(ip, 80)?.action, 'balance');
  table.stage({ ip }, tunnelled);
  await flush();
  assert.deepEqual([read(ip, 0)?.slot, read(ip, 0)?.action], [slot, 'tunnel']);
  assert.equal(read(ip, 80), undefined);
  assert.equal(table.usage().used, 1);

  table.stage({ ip }, []);
  await flush();
  assert.equal(liveFrontends(maps), 0);
  assert.deepEqual([table.usage().used, [...table.keys()]], [0, []]);
});

test('a slot is given again only when the barrier after its deletion is over', async () => {
  const { table, read } = fixture(1);
  const slicer = new Slicer(1000);
  const barrier = async () => {};
  table.stage({ ip: '10.0.0.1' }, [entry({})]);
  await table.flush(slicer, barrier);
  table.stage({ ip: '10.0.0.1' }, []);
  await table.flush(slicer, barrier);
  table.stage({ ip: '10.0.0.2' }, [entry({})]);
  assert.deepEqual(table.usage().refused, { 'table-full': 1 });
  assert.equal(table.incomplete, true);
  table.freeRetired();
  table.stage({ ip: '10.0.0.2' }, [entry({})]);
  assert.equal(table.incomplete, false);
  await table.flush(slicer, barrier);
  assert.equal(read('10.0.0.2', 0)?.action, 'refuse');
});

test('the memory is mapped while frontends are written, and unmapped at rest', async ({ mock }) => {
  mock.timers.enable({ apis: ['setTimeout'] });
  const { maps, table, flush, read } = fixture();
  const calls: string[] = [];
  const { map, unmap } = maps.frontends;
  Object.assign(maps.frontends, {
    map() {
      calls.push('map');
      return map();
    },
    unmap() {
      calls.push('unmap');
      unmap();
    },
  });
  table.stage({ ip: '10.0.0.1' }, [entry({})]);
  await flush();
  assert.deepEqual(calls, ['map']);
  mock.timers.tick(1_999);
  table.stage({ ip: '10.0.0.2' }, [entry({})]);
  await flush();
  mock.timers.tick(1_999);
  assert.deepEqual(calls, ['map'], 'used lately');
  mock.timers.tick(2_001);
  assert.deepEqual(calls, ['map', 'unmap']);
  table.stage({ ip: '10.0.0.1' }, []);
  await flush();
  assert.deepEqual(calls, ['map', 'unmap', 'map']);
  assert.equal(read('10.0.0.1', 0), undefined);
  assert.equal(read('10.0.0.2', 0)?.action, 'refuse');
});
