import assert from 'node:assert/strict';
import { test } from 'node:test';
import { DescriptorShares, type PodShare } from '../src/pod/descriptor-share.ts';

/** Opens connections of one descriptor until the pod is refused, at most `most`. */
function fill(share: PodShare, most = Number.POSITIVE_INFINITY): number {
  let opened = 0;
  while (opened < most && share.admits()) {
    share.change(1);
    opened += 1;
  }
  return opened;
}

test('the descriptors left free are at least as many as the greediest pod holds', () => {
  for (const greedy of [1, 2, 3, 7]) {
    const shares = new DescriptorShares({ descriptors: 8_000, perPod: undefined });
    const pods = Array.from({ length: greedy }, () => shares.pod(() => undefined));
    // Alternately, as pods that open connections at the same time.
    for (let more = true; more; ) more = pods.map((pod) => fill(pod, 1)).some((opened) => opened > 0);
    const fair = 7_000 / (greedy + 1);
    for (const pod of pods) assert.ok(Math.abs(pod.held - fair) <= greedy + 1, `${greedy} pods: ${pod.held}`);
    assert.ok(
      fill(
        shares.pod(() => undefined),
        400,
      ) === 400,
      'another pod gets what it needs',
    );
  }
});

test('descriptors of ended connections are free for all pods', () => {
  const shares = new DescriptorShares({ descriptors: 8_000, perPod: undefined });
  const [first, second] = [shares.pod(() => undefined), shares.pod(() => undefined)];
  fill(first);
  assert.equal(first.held, 3_500);
  first.change(-3_500);
  assert.equal(fill(second), 3_500);
});

test('a limit per pod holds with any number of free descriptors, and a pod gets a few even without any', () => {
  const limited = new DescriptorShares({ descriptors: 8_000, perPod: 100 });
  assert.equal(fill(limited.pod(() => undefined)), 100);
  const all = new DescriptorShares({ descriptors: 8_000, perPod: undefined });
  all.change(8_000);
  assert.equal(fill(all.pod(() => undefined)), 16);
});

test('a configured limit applies beyond half of the free descriptors, but never to the reserve', () => {
  const shares = new DescriptorShares({ descriptors: 8_000, perPod: 5_000 });
  const [first, second] = [shares.pod(() => undefined), shares.pod(() => undefined)];
  assert.equal(fill(first), 5_000);
  assert.equal(fill(second), 2_000);
});

test('few descriptors are not shared: connections wait for them instead', () => {
  const few = new DescriptorShares({ descriptors: 1_024, perPod: undefined });
  assert.equal(
    fill(
      few.pod(() => undefined),
      5_000,
    ),
    5_000,
  );
});

test('a pod at its limit is logged once, and again only after it was well below it', () => {
  const said: number[] = [];
  const share = new DescriptorShares({ descriptors: 8_000, perPod: 100 }).pod((held) => said.push(held));
  for (let round = 0; round < 50; round++) {
    fill(share);
    share.change(-1);
  }
  assert.deepEqual(said, [100]);
  share.change(-50);
  fill(share);
  assert.deepEqual(said, [100, 100]);
});
