import assert from 'node:assert/strict';
import { test } from 'node:test';
import { MessageChannel } from 'node:worker_threads';
import { gunzipSync } from 'node:zlib';
import { createSeriesBudget } from '../src/metrics/messages.ts';
import { MetricRecorder, retireAfterMilliseconds } from '../src/metrics/recorder.ts';
import { renderStore } from '../src/metrics/render.ts';
import { MetricStore } from '../src/metrics/store.ts';
import { GzipExposition } from '../src/scrape/gzip/gzip-exposition.ts';

function startStore() {
  const { port1, port2 } = new MessageChannel();
  const store = new MetricStore();
  store.attach(port2);
  const recorder = new MetricRecorder({ port: port1, budget: createSeriesBudget(10_000_000) });
  return {
    store,
    recorder,
    [Symbol.dispose]() {
      store.close();
      recorder.close();
    },
  };
}

const join = (pieces: Iterable<Uint8Array>) =>
  Buffer.concat(Array.from(pieces, (piece) => Buffer.from(piece)));

/** What the gzip body holds, which must be what the other encodings have. */
function expectSame(
  store: MetricStore,
  exposition = new GzipExposition(store),
): { text: string; compressed: number } {
  store.refresh();
  const tail = '# HELP last Last.\n# TYPE last gauge\nlast 1\n# EOF\n';
  const compressed = join(exposition.pieces([tail]));
  const text = gunzipSync(compressed).toString();
  assert.ok(text === join(renderStore(store)).toString() + tail, 'the text differs');
  return { text, compressed: compressed.length };
}

/** A small generator of numbers, the same in every run. */
function numbers(seed: number): (below: number) => number {
  let state = seed;
  return (below) => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return Math.floor((state / 2 ** 32) * below);
  };
}

const words = [
  'default',
  'web',
  'ä-ö',
  'a"quote',
  'back\\slash',
  'line\nfeed',
  '',
  'x',
  'client',
  '{',
  '日本',
];

test('the gzip body is the same text as any other, whatever labels and values there are', () => {
  const random = numbers(7);
  for (let round = 0; round < 30; round++) {
    using world = startStore();
    const label = () =>
      (words[random(words.length)] ?? '').repeat(random(4)) + (random(2) ? random(1000) : '');
    for (let index = 0; index < 1 + random(80); index++) {
      const shared = label();
      const values = Array.from({ length: 31 }, () => (random(3) ? shared : label()));
      const mask = 1 + random(31);
      const row = world.recorder.row('traffic', values.slice(0, random(2) ? 23 : 27), mask);
      for (let cell = 0; cell < 5; cell++) {
        row.cells[row.offset + cell] =
          [random(10), random(2 ** 31), 2 ** 40 + random(9), 0.5, 0][random(5)] ?? 0;
      }
      const pair = world.recorder.row('roundTrip', values.slice(0, 5), 1);
      pair.cells[pair.offset + random(14)] = random(100);
      world.recorder.row('paths', values.slice(0, 2), 1);
    }
    const exposition = new GzipExposition(world.store);
    expectSame(world.store, exposition);
    // Again, from what is known now; then with other values and other neighbours.
    expectSame(world.store, exposition);
    const more = world.recorder.row('traffic', Array.from({ length: 23 }, label), 31);
    more.cells[more.offset] = 1e300;
    expectSame(world.store, exposition);
  }
});

test('what changes between two scrapes is in the second: values, families, rows that come and rows that go', () => {
  using world = startStore();
  const random = numbers(11);
  const exposition = new GzipExposition(world.store);
  const departed = new Set<string>();
  const presence = { begin() {}, has: (subject: string) => !departed.has(subject), end() {} };
  const add = (client: string, mask: number) => {
    const values = Array.from({ length: 23 }, (_, at) => (at === 3 ? client : `value-${at}`));
    return world.recorder.row('traffic', values, mask, [client]);
  };
  const rows = Array.from({ length: 1500 }, (_, index) => add(`client-${index}`, 1));
  const seen = new Set<number>();
  for (let round = 0; round < 40; round++) {
    for (let change = random(4); change > 0; change--) {
      const row = rows[random(rows.length)] as (typeof rows)[number];
      row.cells[row.offset] = random(2 ** 31);
    }
    if (random(3) === 0) add(`client-${random(1500)}`, 1 << random(4));
    if (random(3) === 0) rows.push(add(`late-${round}`, 3));
    if (random(3) === 0) departed.add(`client-${random(1500)}`);
    world.recorder.sweep(presence, round * retireAfterMilliseconds);
    seen.add(expectSame(world.store, exposition).text.split('\n').length);
  }
  assert.ok(departed.size > 5 && seen.size > 10, `${departed.size} and ${seen.size}`);
});

test('labels and families of any length are in the gzip body', () => {
  using world = startStore();
  for (const length of [0, 1, 300, 15_300, 15_400, 40_000, 40_001, 300_000, 3]) {
    const row = world.recorder.row('paths', ['x'.repeat(length), 'y'.repeat(length % 7)], 1);
    row.cells[row.offset] = length;
  }
  expectSame(world.store);
});

test('an exposition without series is an empty gzip body but for what follows', () => {
  using world = startStore();
  assert.match(expectSame(world.store).text, /^# HELP last/);
});

test('lines that differ little take little: a twentieth of the text', () => {
  using world = startStore();
  for (let index = 0; index < 2000; index++) {
    const values = Array.from({ length: 27 }, (_, at) => `value-${at}`);
    values[1] = values[2] = values[6] = `client-${index}`;
    const row = world.recorder.row('traffic', values, 15);
    row.cells[row.offset + 2] = index * 7919;
  }
  const { text, compressed } = expectSame(world.store);
  assert.ok(compressed * 20 < text.length, `${compressed} of ${text.length}`);
});
