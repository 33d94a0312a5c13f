import assert from 'node:assert/strict';
import { test } from 'node:test';
import { gunzipSync } from 'node:zlib';
import { isKmeshError } from '@kmesh/api';
import { encodePprof, Profiles } from '../../src/admin/profiles.ts';

type Field = { readonly number: number; readonly value: bigint | Buffer };

/** Fields of a protobuf message, nested ones as bytes. */
function fieldsOf(bytes: Buffer): Field[] {
  const fields: Field[] = [];
  let at = 0;
  const varint = (): bigint => {
    let value = 0n;
    for (let shift = 0n; ; shift += 7n) {
      const byte = bytes[at++] ?? 0;
      value |= BigInt(byte & 0x7f) << shift;
      if (byte < 0x80) return value;
    }
  };
  while (at < bytes.length) {
    const tag = Number(varint());
    if ((tag & 7) === 0) {
      fields.push({ number: tag >> 3, value: varint() });
      continue;
    }
    assert.equal(tag & 7, 2, 'only integers and blocks are written');
    const length = Number(varint());
    fields.push({ number: tag >> 3, value: bytes.subarray(at, at + length) });
    at += length;
  }
  assert.equal(at, bytes.length);
  return fields;
}

function blocks(fields: readonly Field[], number: number): Buffer[] {
  return fields.filter((field) => field.number === number).map(({ value }) => value as Buffer);
}

const frame = (name: string, line: number) => ({ name, file: 'a.js', line });

test('a profile is a gzipped pprof message in which every stack can be read back', async () => {
  const bytes = await encodePprof({
    types: [{ type: 'cpu', unit: 'nanoseconds' }],
    samples: [
      { stack: [frame('inner', 7), frame('outer', 300)], values: [5_000_000_000] },
      { stack: [frame('outer', 300)], values: [1] },
    ],
    period: { type: 'cpu', unit: 'nanoseconds', value: 10_000_000 },
    takenAt: 1_763_800_000_000,
    durationNanoseconds: 10_000_000_000,
  });
  const fields = fieldsOf(gunzipSync(bytes));
  const strings = blocks(fields, 6).map((block) => block.toString());
  assert.equal(strings[0], '');
  const functions = new Map(
    blocks(fields, 5).map((block) => {
      const [id, name] = fieldsOf(block);
      return [id?.value, strings[Number(name?.value)]];
    }),
  );
  const locations = new Map(
    blocks(fields, 4).map((block) => {
      const [id, line] = fieldsOf(block);
      const [of, number] = fieldsOf(line?.value as Buffer);
      return [id?.value, `${functions.get(of?.value)}:${number?.value}`];
    }),
  );
  const samples = blocks(fields, 2).map((block) => {
    const [stack, values] = fieldsOf(block).map(({ value }) => packedOf(value as Buffer));
    return [stack?.map((id) => locations.get(id)), values];
  });
  assert.deepEqual(samples, [
    [['inner:7', 'outer:300'], [5_000_000_000n]],
    [['outer:300'], [1n]],
  ]);
  assert.equal(fields.find(({ number }) => number === 9)?.value, 1_763_800_000_000_000_000n);
  assert.equal(fields.find(({ number }) => number === 10)?.value, 10_000_000_000n);
});

function packedOf(bytes: Buffer): bigint[] {
  const values: bigint[] = [];
  let value = 0n;
  let shift = 0n;
  for (const byte of bytes) {
    value |= BigInt(byte & 0x7f) << shift;
    shift += 7n;
    if (byte >= 0x80) continue;
    values.push(value);
    value = 0n;
    shift = 0n;
  }
  return values;
}

test('a CPU profile of one second has samples with the names of the functions that ran', async () => {
  const profiles = new Profiles();
  const profile = profiles.answer(
    '/debug/pprof/profile',
    new URLSearchParams('seconds=1&frequency=200'),
    false,
  );
  const second = profiles.answer('/debug/pprof/profile', new URLSearchParams(), false);
  await assert.rejects(second ?? Promise.resolve(), (error: unknown) => isKmeshError(error, 'KMESH_PROFILE'));
  const busy = setInterval(function busyForTheProfile() {
    const end = performance.now() + 20;
    while (performance.now() < end);
  }, 25);
  const bytes = await profile;
  clearInterval(busy);
  const strings = blocks(fieldsOf(gunzipSync(bytes as Buffer)), 6).map((block) => block.toString());
  assert.ok(strings.includes('busyForTheProfile'), strings.join(', '));
});

test('a memory profile is available only while profiling is active', async () => {
  const profiles = new Profiles();
  const ask = (path: string, query = '', post = query !== '') =>
    profiles.answer(path, new URLSearchParams(query), post);
  await assert.rejects(ask('/debug/pprof/heap') ?? Promise.resolve(), (error: unknown) =>
    isKmeshError(error, 'KMESH_PROFILE'),
  );
  assert.equal(await ask('/debug/pprof/heap/profiling'), 'heap profiling is inactive\n');
  const onlyPost = ask('/debug/pprof/heap/profiling', 'activate=true', false);
  await assert.rejects(onlyPost ?? Promise.resolve(), /use POST/);
  assert.equal(await ask('/debug/pprof/heap/profiling', 'activate=true'), 'heap profiling is active\n');
  const kept = Array.from({ length: 20_000 }, (_, index) => ({ index, text: `${index}` }));
  const bytes = (await ask('/debug/pprof/heap')) as Buffer;
  assert.ok(blocks(fieldsOf(gunzipSync(bytes)), 2).length > 0);
  assert.equal(kept.length, 20_000);
  assert.equal(await ask('/debug/pprof/heap/profiling', 'activate=false'), 'heap profiling is inactive\n');
  assert.equal(ask('/debug/pprof/other'), undefined);
});
