import assert from 'node:assert/strict';
import { PassThrough, Writable } from 'node:stream';
import { text } from 'node:stream/consumers';
import { test } from 'node:test';
import { eventually } from '@kmesh/api/testing';
import { Slicer } from '@kmesh/orchestration';
import { LazyList, LazyObject, sortedInSlices, streamJson } from '../../src/admin/stream-json.ts';

async function written(value: unknown): Promise<string> {
  const stream = new PassThrough();
  const [whole] = await Promise.all([text(stream), streamJson(value, stream)]);
  return whole.trimEnd();
}

function* counting(count: number, made: { items: number }): Generator<unknown> {
  for (let index = 0; index < count; index++) {
    made.items++;
    yield { index, text: 'x'.repeat(1_000) };
  }
}

const plain = {
  list: [{ a: 1, nested: ['x', { y: 'line\nbreak' }] }, 2, null],
  none: [],
  object: { one: { two: [] }, empty: {} },
  text: 'ü"',
};

test('lazy parts are written exactly as JSON.stringify writes the plain ones', async () => {
  const lazy = {
    list: new LazyList(plain.list),
    none: new LazyList([]),
    object: new LazyObject(Object.entries(plain.object)),
    text: plain.text,
  };
  const deep = {
    a: new LazyList([{ ports: 1, b: new LazyObject([['c', { d: new LazyList([1, [2]]) }]]) }]),
    plain: { array: [new LazyObject([['e', new LazyList([3])]])] },
  };
  const deepPlain = { a: [{ ports: 1, b: { c: { d: [1, [2]] } } }], plain: { array: [{ e: [3] }] } };
  assert.equal(await written(lazy), JSON.stringify(plain, null, 2));
  assert.equal(await written(deep), JSON.stringify(deepPlain, null, 2));
  assert.equal(await written(new LazyObject([])), '{}');
});

test('a slow reader gets every byte, and output is generated only as fast as it reads', async () => {
  const made = { items: 0 };
  const stream = new PassThrough({ highWaterMark: 64 * 1024 });
  const written = streamJson({ items: new LazyList(counting(5_000, made)) }, stream);
  await eventually("the stream's buffer is full", () => stream.writableNeedDrain);
  for (let turn = 0; turn < 100; turn++) await new Promise(setImmediate);
  assert.ok(
    made.items > 0 && made.items < 500,
    `${made.items} items were generated for a reader that does not read`,
  );
  const whole = JSON.parse(await text(stream)) as { items: unknown[] };
  await written;
  assert.equal(whole.items.length, 5_000);
  assert.equal(made.items, 5_000);
});

test('no output is generated once the reader has closed', { timeout: 10_000 }, async () => {
  const made = { items: 0 };
  const stream = new Writable({ highWaterMark: 1, write: () => {} });
  const written = streamJson(new LazyList(counting(5_000, made)), stream);
  await eventually('an item is generated', () => made.items > 0);
  stream.destroy();
  await written;
  assert.ok(made.items < 500, `${made.items} items were generated after the reader closed`);
});

test('items come in the order of their keys, also over many runs', async () => {
  for (const count of [0, 1, 2, 2_048, 2_049, 20_000]) {
    const items = Array.from({ length: count }, (_, index) => `${(index * 7_919) % 104_729}`);
    const sorted = [...(await sortedInSlices(items, (item) => item, new Slicer(2)))];
    assert.deepEqual(sorted, items.toSorted());
  }
});
