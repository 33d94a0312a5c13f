import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { Worker } from 'node:worker_threads';
import { createMap, mapTypes, openPinnedMap } from '../src/bpf-map.ts';
import { closeDescriptor, DescriptorWatcher } from '../src/descriptors.ts';
import { currentNetworkNamespace } from '../src/network-namespace.ts';
import { openUdpSocket } from '../src/socket.ts';
import { compileFixture } from './compile-fixture.ts';

const cycles = 100_000;
const memoryMap = {
  type: mapTypes.array,
  name: 'kmesh_t',
  keySize: 4,
  valueSize: 8,
  maxEntries: 1,
  flags: 1 << 10,
};

function openDescriptors(): number {
  return readdirSync('/proc/self/fd').length;
}

/**
 * Runs `cycle` repeatedly, with turns of the event loop in between, and returns the growth of resident memory in bytes.
 */
async function repeat(times: number, cycle: () => void): Promise<number> {
  const turn = async (count: number) => {
    for (let index = 0; index < count; index += 1) {
      cycle();
      if (index % 500 === 0) await new Promise(setImmediate);
    }
  };
  // The first tenth warms caches, the allocator and the compiler.
  await turn(times / 10);
  const before = process.memoryUsage.rss();
  await turn(times - times / 10);
  await new Promise(setImmediate);
  return process.memoryUsage.rss() - before;
}

const kinds: [name: string, times: number, cycle: () => void][] = [
  ['namespaces', cycles, () => currentNetworkNamespace().close()],
  ['sockets', cycles, () => closeDescriptor(openUdpSocket({ address: '127.0.0.1', port: 0 }))],
];
for (const [name, times, cycle] of kinds) {
  test(`${times} ${name} are opened and closed and nothing is left`, async () => {
    cycle();
    const before = openDescriptors();
    const growth = await repeat(times, cycle);
    assert.equal(openDescriptors(), before);
    assert(growth < 48 << 20, `${growth >> 20} MiB`);
  });
}

function mappings(): number {
  return readFileSync('/proc/self/maps', 'utf8').split('\n').length;
}

test('maps with mapped memory and watchers are opened and closed and nothing is left', async () => {
  const before = openDescriptors();
  const mappingsBefore = mappings();
  const growth = await repeat(20_000, () => {
    const map = createMap(memoryMap);
    map.mmap();
    map.close();
    const fd = openUdpSocket({ address: '127.0.0.1', port: 0 });
    const watcher = new DescriptorWatcher(fd, () => {});
    watcher.watch({ readable: true, writable: true });
    watcher.close();
    closeDescriptor(fd);
  });
  assert.equal(openDescriptors(), before);
  assert(growth < 48 << 20, `${growth >> 20} MiB`);
  // Memory that the last turns of the loop have not freed yet, and the allocator's mappings.
  assert(mappings() - mappingsBefore < 2000, `${mappings() - mappingsBefore} mappings`);
  assert.throws(() => openPinnedMap('/nobody'), { code: 'KMESH_BPF_PIN_FAILED' });
});

test('a worker that ends without closing anything leaves no descriptor behind', async () => {
  const bytes = compileFixture('hooks');
  const before = openDescriptors();
  const file = fileURLToPath(new URL('fixtures/busy-worker.ts', import.meta.url));
  for (let round = 0; round < 8; round += 1) {
    const worker = new Worker(file, { workerData: { bytes, exit: round % 2 === 0 } });
    await new Promise<void>((resolve, reject) => {
      worker.once('error', reject);
      worker.once('message', () => {
        if (round % 2 !== 0) void worker.terminate();
      });
      worker.once('exit', () => resolve());
    });
  }
  assert(openDescriptors() <= before + 2, `${openDescriptors()} descriptors, ${before} before`);
});
