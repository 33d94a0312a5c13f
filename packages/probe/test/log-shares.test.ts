import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type LogOwner, LogShares } from '../src/log/log-shares.ts';

const loud = { namespace: 'shop', name: 'loud' };
const quiet = { namespace: 'shop', name: 'quiet' };

function sharesOf(linesPerSecond: number) {
  const clock = { now: 0 };
  const suppressed = new Map<string, number>();
  const episodes: (readonly [pod: string, leftOut: number | undefined])[] = [];
  const shares = new LogShares({
    linesPerSecond,
    now: () => clock.now,
    onSuppressed: ({ name }, lines) => suppressed.set(name, (suppressed.get(name) ?? 0) + lines),
    onEpisode: ({ name }, leftOut) => episodes.push([name, leftOut]),
  });
  const write = (pod: LogOwner | undefined, lines: number) =>
    Array.from({ length: lines }, () => shares.admits(pod)).filter((admitted) => admitted).length;
  return { clock, shares, suppressed, episodes, write };
}

test('a pod may write ten seconds of its share at once, then its share, and other pods are not affected', (t) => {
  const { clock, shares, suppressed, write } = sharesOf(100);
  t.after(() => shares.close());
  assert.equal(write(loud, 5_000), 1_000);
  assert.equal(write(quiet, 500), 500);
  clock.now += 1_000;
  assert.equal(write(loud, 5_000), 100);
  shares.endEpisodes();
  assert.deepEqual([...suppressed], [['loud', 8_900]]);
  write({ ...loud }, 10);
  shares.endEpisodes();
  assert.deepEqual([...suppressed], [['loud', 8_910]], 'whichever record names the pod');
});

test('suppressed lines are reported once, and their number when lines are written again', (t) => {
  const { clock, shares, episodes, write } = sharesOf(100);
  t.after(() => shares.close());
  write(loud, 1_200);
  for (let second = 0; second < 60; second++) {
    clock.now += 1_000;
    shares.endEpisodes();
    write(loud, 200);
  }
  assert.deepEqual(episodes, [['loud', undefined]]);
  clock.now += 4_900;
  shares.endEpisodes();
  assert.equal(episodes.length, 1, 'not before half of the burst is available again');
  clock.now += 200;
  shares.endEpisodes();
  assert.deepEqual(episodes, [
    ['loud', undefined],
    ['loud', 200 + 60 * 100],
  ]);
});

test('lines of unknown pods have one common share, and removed pods have none', (t) => {
  const { clock, shares, write } = sharesOf(1);
  t.after(() => shares.close());
  assert.equal(write(undefined, 8) + write(undefined, 8), 10);
  for (let index = 0; index < 5_000; index++) {
    clock.now += 20;
    assert.equal(write({ namespace: 'shop', name: `pod-${index}` }, 1), 1);
  }
  assert.equal(write({ namespace: 'shop', name: 'pod-4999' }, 20), 9, 'a share in use is kept');
});
