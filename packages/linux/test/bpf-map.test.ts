import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { addon } from '../src/addon.ts';
import { type BpfMap, createMap, kernelBarrier, mapTypes } from '../src/bpf-map.ts';

const noPreallocation = 1;
const mmapable = 1 << 10;

function numbers(values: number[]): Uint8Array {
  return new Uint8Array(Uint32Array.from(values).buffer);
}

function range(count: number, from = 0): number[] {
  return Array.from({ length: count }, (_, index) => from + index);
}

function sorted(map: BpfMap): [number, number][] {
  const pairs: [number, number][] = [];
  for (const { count, keys, values } of map.lookupBatch(100)) {
    const at = (bytes: Uint8Array) => new Uint32Array(bytes.slice(0, count * 4).buffer);
    const [key, value] = [at(keys), at(values)];
    for (let index = 0; index < count; index += 1) pairs.push([key[index] ?? -1, value[index] ?? -1]);
  }
  return pairs.sort(([a], [b]) => a - b);
}

const kinds = [
  { name: 'hash', type: mapTypes.hash, flags: 0 },
  { name: 'hash without preallocation', type: mapTypes.hash, flags: noPreallocation },
  { name: 'lru', type: mapTypes.lruHash, flags: 0 },
];
for (const { name, type, flags } of kinds) {
  test(`single entries of a ${name} map are written, read and removed according to the mode`, () => {
    using map = createMap({ type, name: 'kmesh_t', keySize: 4, valueSize: 4, maxEntries: 10, flags });
    const [key, value] = [numbers([7]), numbers([70])];
    assert.equal(map.get(key), undefined);
    assert.throws(() => map.set(key, value, 'replace'), { errnoName: 'ENOENT' });
    map.set(key, value, 'create');
    assert.deepEqual(map.get(key), value);
    assert.throws(() => map.set(key, value, 'create'), { errnoName: 'EEXIST', code: 'KMESH_BPF_MAP_FAILED' });
    map.set(key, numbers([71]), 'replace');
    assert.deepEqual([...map.entries()], [[key, numbers([71])]]);
    assert.equal(map.delete(key), true);
    assert.equal(map.delete(key), false);
    map.set(key, value);
    const into = new Uint8Array(4);
    assert.equal(map.take(key, into), into);
    assert.deepEqual(into, new Uint8Array(value));
    assert.equal(map.take(key, into), undefined);
    assert.equal(map.get(key), undefined);
  });
}

test('batches write, read back and remove ten thousand entries', () => {
  using map = createMap({
    type: mapTypes.hash,
    name: 'kmesh_t',
    keySize: 4,
    valueSize: 4,
    maxEntries: 20_000,
  });
  const keys = range(10_000);
  assert.equal(map.updateBatch(numbers(keys), numbers(keys.map((key) => key * 2)), keys.length), 10_000);
  assert.deepEqual(
    sorted(map),
    keys.map((key) => [key, key * 2]),
  );
  // Every third key, and as many missing ones.
  const some = keys.filter((key) => key % 3 === 0).flatMap((key) => [key, key + 1_000_000]);
  assert.equal(map.deleteBatch(numbers(some), some.length), some.length / 2);
  assert.deepEqual(
    sorted(map).map(([key]) => key),
    keys.filter((key) => key % 3 !== 0),
  );
});

test('a full map reports how many entries of a batch were written', () => {
  using map = createMap({ type: mapTypes.hash, name: 'kmesh_t', keySize: 4, valueSize: 4, maxEntries: 100 });
  assert.equal(map.updateBatch(numbers(range(150)), numbers(range(150)), 150), 100);
  assert.throws(() => map.set(numbers([1000]), numbers([1])), { errnoName: 'E2BIG' });
});

test('a map type without batches uses single calls', () => {
  const deviceHash = 25; // Its values are interface indexes; 1 is lo.
  using map = createMap({ type: deviceHash, name: 'kmesh_t', keySize: 4, valueSize: 4, maxEntries: 500 });
  const keys = range(200);
  assert.equal(map.updateBatch(numbers(keys), numbers(keys.map(() => 1)), 200), 200);
  assert.deepEqual(
    sorted(map),
    keys.map((key) => [key, 1]),
  );
  assert.equal(map.deleteBatch(numbers(range(200, 100)), 200), 100);
  assert.equal(sorted(map).length, 100);
});

test('a trie is written and read in batches', () => {
  const shape = { name: 'kmesh_t', keySize: 8, valueSize: 4, maxEntries: 500, flags: noPreallocation };
  using map = createMap({ type: mapTypes.longestPrefixTrie, ...shape });
  const keys = numbers(range(200).flatMap((index) => [32, index]));
  assert.equal(map.updateBatch(keys, numbers(range(200)), 200), 200);
  assert.equal([...map.entries()].length, 200);
  assert.equal(map.deleteBatch(keys, 200), 200);
  assert.equal([...map.entries()].length, 0);
});

test('values of a per-CPU map hold all CPUs', () => {
  using map = createMap({
    type: mapTypes.perCpuArray,
    name: 'kmesh_t',
    keySize: 4,
    valueSize: 8,
    maxEntries: 2,
  });
  assert.equal(map.valueSize, 8 * addon().possibleCpus());
  const value = new Uint8Array(map.valueSize).fill(3);
  map.set(numbers([1]), value);
  assert.deepEqual(map.get(numbers([1])), value);
});

test('an mmap-able array is shared memory until it is closed', () => {
  const options = { type: mapTypes.array, name: 'kmesh_t', keySize: 4, valueSize: 8, maxEntries: 1000 };
  const map = createMap({ ...options, flags: mmapable });
  const memory = map.mmap();
  assert.equal(memory.byteLength, 8000);
  assert.equal(map.mmap(), memory);
  new BigUint64Array(memory)[999] = 0x1122334455667788n;
  const read = map.get(numbers([999]));
  assert.equal(read && new DataView(read.buffer).getBigUint64(0, true), 0x1122334455667788n);
  map.close();
  assert.equal(memory.byteLength, 0);
  using plain = createMap(options);
  assert.throws(() => plain.mmap(), { code: 'KMESH_INVALID_ARGUMENT' });
});

test('unmapped memory leaves the process at once, and has its contents when it is mapped again', () => {
  using map = createMap({
    ...{ type: mapTypes.array, name: 'kmesh_t', keySize: 4, valueSize: 8, maxEntries: 131_072 },
    flags: mmapable,
  });
  const before = mappedKilobytes();
  const memory = map.mmap();
  new BigUint64Array(memory)[999] = 77n;
  assert.equal(mappedKilobytes() - before, 1_024);
  map.unmap();
  assert.equal(memory.byteLength, 0);
  assert.equal(mappedKilobytes(), before);
  map.unmap();
  assert.equal(new BigUint64Array(map.mmap())[999], 77n);
});

/** Resident memory of all maps of this process. */
function mappedKilobytes(): number {
  const mappings = readFileSync('/proc/self/smaps', 'utf8').split(/^(?=[0-9a-f]+-)/m);
  const ofMaps = mappings.filter((text) => text.includes('anon_inode:bpf-map'));
  return ofMaps.reduce((sum, text) => sum + Number(/^Rss: +(\d+) kB/m.exec(text)?.[1]), 0);
}

test('wrong sizes and closed maps are refused without a system call', () => {
  const map = createMap({ type: mapTypes.hash, name: 'kmesh_t', keySize: 4, valueSize: 4, maxEntries: 1 });
  assert.throws(() => map.get(new Uint8Array(3)), /the length of key is 3; it must be 4 bytes long/);
  assert.throws(() => map.set(numbers([1]), new Uint8Array(8)), { code: 'KMESH_INVALID_ARGUMENT' });
  assert.throws(() => map.updateBatch(numbers([1]), numbers([1]), 2), /at least 8 bytes long/);
  map.close();
  map.close();
  assert.throws(() => map.get(numbers([1])), { code: 'KMESH_CLOSED' });
});

test('the kernel barrier ends, and so does its replacement', async () => {
  await kernelBarrier();
  assert.equal(addon().kernelBarrierByMap(), 0);
});
