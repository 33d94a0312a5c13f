import assert from 'node:assert/strict';
import { test } from 'node:test';
import { eventually } from '@kmesh/api/testing';
import { type BpfObject, openBpfObject } from '../src/bpf-object.ts';
import { EventRing } from '../src/event-ring.ts';
import { compileFixture } from './compile-fixture.ts';

const recordSize = 64;

async function load(eventsPerRun: number, ringBytes = 4 << 20): Promise<BpfObject> {
  const object = openBpfObject(compileFixture('hooks'), 'hooks');
  object.setConstant('answer', eventsPerRun).setMaxEntries('events', ringBytes);
  return object.load();
}

test('a million events arrive in order and without loss, at more than 100,000 a second', async () => {
  using object = await load(250);
  let expected = 0n;
  let disordered = 0;
  let first = '';
  using ring = new EventRing(object.map('events'), {
    recordSize,
    losses: object.map('losses'),
    onBatch({ count, bytes }) {
      const words = new BigUint64Array(bytes.buffer, bytes.byteOffset, (count * recordSize) / 8);
      for (let index = 0; index < count; index += 1) {
        if (words[index * 8] !== expected) {
          if (disordered === 0) first = `${words[index * 8]} instead of ${expected}`;
          disordered += 1;
        }
        expected += 1n;
      }
    },
  });
  const program = object.program('emit');
  const packet = new Uint8Array(64);
  const begin = performance.now();
  while (performance.now() - begin < 30_000 && expected < 1_000_000n) {
    // At most half of the ring between turns of the event loop, as in a busy program.
    program.testRun(packet, 100);
    await new Promise(setImmediate);
    while (ring.counters.pending > 1 << 20) await new Promise(setImmediate);
  }
  const rate = Number(expected) / ((performance.now() - begin) / 1000);
  assert.equal(ring.counters.losses, 0);
  assert.equal(disordered, 0, first);
  assert(rate > 100_000, `${Math.round(rate)} events/s`);
  assert(ring.counters.batches < ring.counters.records / 100);
});

test('records of varying size are delivered with their lengths', async () => {
  using object = await load(1);
  const seen: [length: number, first: number][] = [];
  using _ = new EventRing(object.map('events'), {
    delay: 0,
    onBatch({ count, bytes }) {
      const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
      let at = 0;
      for (let index = 0; index < count; index += 1) {
        const length = view.getUint32(at, true);
        seen.push([length, view.getUint8(at + 4)]);
        at += Math.ceil((4 + length) / 8) * 8;
      }
      assert.equal(at, bytes.byteLength);
    },
  });
  object.program('emit_mixed').testRun(new Uint8Array(64));
  object.program('emit_mixed').testRun(new Uint8Array(64));
  await eventually('the records arrive', () => seen.length === 10);
  const once = [1, 9, 17, 25, 33].map((length, index) => [length, index + 1]);
  assert.deepEqual(seen, [...once, ...once]);
});

test('if no batch is read the ring fills, memory stays bounded and losses are counted', async () => {
  using object = await load(250, 1 << 16);
  let delivered = 0;
  using ring = new EventRing(object.map('events'), {
    recordSize,
    losses: object.map('losses'),
    batchBytes: 8192,
    buffers: 2,
    delay: 0,
    onBatch({ count }) {
      delivered += count;
    },
  });
  // The event loop does not run meanwhile, so only two buffers and the ring can hold records.
  object.program('emit').testRun(new Uint8Array(64), 400);
  await eventually(
    'the records arrive',
    () => ring.counters.pending === 0 && delivered === ring.counters.records,
  );
  const { losses } = ring.counters;
  assert(losses > 0);
  // The program's count of attempted records.
  const globals = object.map('hooks.bss').get(new Uint8Array(4)) ?? new Uint8Array(8);
  assert.equal(BigInt(delivered + losses), new BigUint64Array(globals.buffer, 0, 1)[0]);
  assert(delivered + losses >= 400 * 250);
});

test('records of a wrong size are counted as lost', async () => {
  using object = await load(1);
  using ring = new EventRing(object.map('events'), {
    recordSize,
    onBatch: () => assert.fail('no record fits'),
  });
  object.program('emit_mixed').testRun(new Uint8Array(64));
  await eventually('the records arrive', () => ring.counters.losses === 5);
});

test('an error of the handler is reported and the ring continues', async () => {
  using object = await load(1);
  const errors: unknown[] = [];
  using ring = new EventRing(object.map('events'), {
    recordSize,
    delay: 0,
    onBatch() {
      throw new Error('handler');
    },
    onError: (error) => errors.push(error),
  });
  for (let turn = 1; turn <= 6; turn += 1) {
    object.program('emit').testRun(new Uint8Array(64));
    await eventually('the records arrive', () => errors.length === turn);
  }
  ring.close();
  ring.close();
  assert.equal(ring.counters.records, 6);
});

test('only ring buffers of valid sizes can be read', async () => {
  using object = await load(1);
  const onBatch = () => {};
  assert.throws(() => new EventRing(object.map('slots'), { onBatch }), { code: 'KMESH_INVALID_ARGUMENT' });
  assert.throws(() => new EventRing(object.map('events'), { onBatch, recordSize: 12 }), /a multiple of 8/);
});
