import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Slicer } from '../../src/state/slicer.ts';

test('a turn of the event loop has a slice of only one work, and works take turns', async () => {
  let turn = 0;
  let counting = true;
  const count = (): void => {
    turn++;
    if (counting) setImmediate(count);
  };
  setImmediate(count);
  const slices: { readonly work: string; readonly turn: number }[] = [];
  const run = async (work: string): Promise<void> => {
    const slicer = new Slicer(0);
    for (let slice = 0; slice < 3; slice++) {
      await slicer.pause();
      slices.push({ work, turn });
    }
  };
  await Promise.all(['a', 'b', 'c'].map(run));
  counting = false;
  assert.equal(slices.map(({ work }) => work).join(''), 'abcabcabc');
  assert.equal(new Set(slices.map((slice) => slice.turn)).size, slices.length);
});
