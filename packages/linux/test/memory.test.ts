import assert from 'node:assert/strict';
import { test } from 'node:test';
import { releaseFreeMemory } from '../src/index.ts';

test('free memory between blocks in use is returned to the kernel', async () => {
  const blockBytes = 64 * 1024;
  const blocks = Array.from({ length: 1_000 }, () => new Uint8Array(new ArrayBuffer(blockBytes)).fill(1));
  const kept: Uint8Array[] = [];
  for (const [index, block] of blocks.entries()) {
    if (index % 20 === 19) kept.push(block);
    else block.buffer.transfer(0);
  }
  const before = process.memoryUsage.rss();
  await releaseFreeMemory();
  const released = before - process.memoryUsage.rss();
  assert.ok(released > 500 * blockBytes, `${released} bytes of ${950 * blockBytes} were returned`);
  assert.ok(kept.every((block) => block.every((byte) => byte === 1)));
});
