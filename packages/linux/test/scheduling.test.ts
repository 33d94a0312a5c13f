import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { test } from 'node:test';
import { requestShortSlices } from '@kmesh/linux';

/** Time slices of the threads of this process, in nanoseconds. Requires Linux 6.12. */
function turns(): Map<string, number> {
  const threads = readdirSync('/proc/self/task').map((thread): [string, number] => {
    const text = readFileSync(`/proc/self/task/${thread}/sched`, 'utf8');
    return [thread, Number(/^se\.slice\s*:\s*(\d+)/m.exec(text)?.[1])];
  });
  return new Map(threads);
}

test('a thread that requests short time slices gets them, and no other thread of the process does', () => {
  const own = String(process.pid);
  const before = turns();
  assert.ok((before.get(own) ?? 0) > 100_000, `${before.get(own)}`);
  assert.equal(requestShortSlices(), true);
  const after = turns();
  assert.equal(after.get(own), 100_000);
  for (const [thread, slice] of before) if (thread !== own) assert.equal(after.get(thread), slice);
});
