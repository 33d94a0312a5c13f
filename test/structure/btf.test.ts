import assert from 'node:assert/strict';
import { test } from 'node:test';
import { compileFixture } from '../../packages/linux/test/compile-fixture.ts';
import { objectEnumLayouts, objectStructLayouts } from '../../scripts/btf/btf.ts';

test('struct layouts come from the types of an object', () => {
  const [key, value] = objectStructLayouts(compileFixture('hooks'), ['sample_key', 'sample_value']);
  assert.equal(key?.size, 8);
  assert.deepEqual(
    key?.fields.map(({ name, offset, size, kind }) => [name, offset, size, kind]),
    [
      ['id', 0, 4, 'unsigned'],
      ['port', 4, 2, 'unsigned'],
      ['reserved', 6, 2, 'unsigned'],
    ],
  );
  const fields = new Map(value?.fields.map((field) => [field.name, field]));
  assert.equal(value?.size, 40);
  assert.equal(fields.get('address')?.arrayLength, 16);
  assert.equal(fields.get('address')?.elementSize, 1);
  assert.equal(fields.get('state')?.type, 'sample_state');
  assert.equal(fields.get('offset')?.kind, 'signed');
  assert.deepEqual(fields.get('high'), {
    name: 'high',
    offset: 30,
    size: 2,
    kind: 'unsigned',
    elementSize: 2,
    bits: { offset: 4, size: 12 },
  });
  assert.equal(fields.get('nested')?.fields?.[0]?.arrayLength, 2);
});

test('enums have their values', () => {
  const [state] = objectEnumLayouts(compileFixture('hooks'), ['sample_state']);
  assert.deepEqual(state?.values, [
    { name: 'SAMPLE_NEW', value: 1n },
    { name: 'SAMPLE_OLD', value: 7n },
  ]);
});

test('a missing type and an invalid object are named in the error', () => {
  assert.throws(() => objectStructLayouts(compileFixture('hooks'), ['nobody']), /no struct or union nobody/);
  assert.throws(() => objectStructLayouts(new Uint8Array(200)), { code: 'KMESH_BTF_INVALID' });
  const cut = compileFixture('hooks').slice(0, 100);
  assert.throws(() => objectStructLayouts(cut), { code: 'KMESH_BTF_INVALID' });
});
