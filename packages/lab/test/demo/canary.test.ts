import assert from 'node:assert/strict';
import { test } from 'node:test';
import { eventually, routeRecord } from '@kmesh/api/testing';
import { type CanaryScene, startCanary } from '../../src/demo/canary.ts';

const scene: CanaryScene = {
  target: 'shop',
  endpoint: 'shop-v2',
  route: (percent) => routeRecord({ hosts: ['shop'] }, [{ hostname: 'shop-v2', weight: percent }]),
};

test('the demo sets the weight of its canary to 0, 10, 50, 100 % in a loop, and counts from each change', async () => {
  const sent: number[] = [];
  const answers = new Map([
    ['shop-v1', 900],
    ['shop-v2', 100],
  ]);
  const tally = { connections: 0, failed: 0, byEndpoint: new Map([['shop', answers]]), failures: new Map() };
  const canary = startCanary(
    scene,
    (changes) => {
      for (const change of changes) {
        if (change.kind === 'route') sent.push(change.route.tcp?.[0]?.backends[0]?.weight ?? -1);
      }
    },
    { forMilliseconds: 40, tally },
  );
  assert.deepEqual(canary.state(tally), { name: 'shop', wanted: 0, connections: 0, answered: 0 });
  answers.set('shop-v2', 101);
  assert.deepEqual(canary.state(tally), { name: 'shop', wanted: 0, connections: 1, answered: 1 });
  await eventually('every step and the first again', () => sent.length >= 5);
  canary.stop();
  assert.deepEqual(sent.slice(0, 5), [0, 10, 50, 100, 0]);
});
