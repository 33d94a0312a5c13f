import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { getPriority } from 'node:os';
import { test } from 'node:test';
import { lowerHelperThreads } from '../src/helper-threads.ts';

/** Priority of every thread of this process, by its name. */
function priorities(): Map<string, Set<number>> {
  const found = new Map<string, Set<number>>();
  for (const id of readdirSync('/proc/self/task')) {
    const name = readFileSync(`/proc/self/task/${id}/comm`, 'utf8').trim();
    found.set(name, (found.get(name) ?? new Set()).add(getPriority(Number(id))));
  }
  return found;
}

test("V8's helper threads come after the others of the process, which stay as they are, however often it is asked", () => {
  const before = priorities();
  const helpers = [...before.keys()].filter((name) => name.endsWith('V8Worker'));
  assert.equal(helpers.length, 1);
  for (const _ of [1, 2]) lowerHelperThreads();
  for (const [name, found] of priorities()) {
    assert.deepEqual(found, helpers.includes(name) ? new Set([5]) : before.get(name), name);
  }
});
