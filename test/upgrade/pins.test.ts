/** The runtime's pins, in a separate bpffs, so that no pin can remain on the machine. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createLab } from '@kmesh/lab';
import {
  type BpfObject,
  openBpfObject,
  openPinnedLink,
  openPinnedMap,
  openPinnedProgram,
  unpin,
} from '@kmesh/linux';
import { compileFixture } from '../../packages/linux/test/compile-fixture.ts';

const connect4 = 10;

async function loadHooks(): Promise<BpfObject> {
  return openBpfObject(compileFixture('hooks'), 'hooks').load();
}

function count(object: BpfObject, slot: number): bigint {
  return new BigUint64Array(object.map('slots').mmap())[slot] ?? -1n;
}

test('a pinned link survives its object, and can be opened again, updated and removed', async () => {
  await using lab = await createLab();
  const node = await lab.node();
  const client = await node.pod({ name: 'client' });
  await client.serve({ port: 80 });
  const dial = () => client.dial({ to: `${client.addresses.v4}:80` });
  using object = await loadHooks();
  const path = `${await lab.bpffs({ own: true })}/link`;
  const link = object.program('pass_connect').attachCgroup(lab.cgroup);
  link.pin(path);
  link.close();
  await dial();
  assert.equal(count(object, 0), 0n);
  const again = openPinnedLink(path);
  try {
    again.update(object.program('count_connect'));
    assert.equal(again.info().programId, object.program('count_connect').info().id);
    await dial();
    assert.equal(count(object, 0), 1n);
  } finally {
    again.close();
    assert.equal(unpin(path), true);
  }
  assert.equal(unpin(path), false);
  assert.throws(() => openPinnedLink(path), { code: 'KMESH_BPF_PIN_FAILED', errnoName: 'ENOENT' });
});

test('pinned maps and programs are opened again, and a second object shares a map', async () => {
  await using lab = await createLab();
  using object = await loadHooks();
  const pins = await lab.bpffs({ own: true });
  object.map('slots').pin(`${pins}/slots`);
  object.program('pass_connect').pin(`${pins}/program`);
  using map = openPinnedMap(`${pins}/slots`);
  using program = openPinnedProgram(`${pins}/program`, connect4);
  assert.equal(program.info().id, object.program('pass_connect').info().id);
  using second = openBpfObject(compileFixture('hooks'), 'second');
  await second.reuseMap('slots', map).load();
  assert.equal(second.map('slots').info.id, object.map('slots').info.id);
});
