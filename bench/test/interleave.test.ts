import assert from 'node:assert/strict';
import { test } from 'node:test';
import { driftOf, type Found, figuresOf, interleave, MAXIMUM_DRIFT, ratioOf } from '../harness/interleave.ts';

const roundsOf = (values: Readonly<Record<string, readonly number[]>>, name = 'requests') =>
  (Object.values(values)[0] ?? []).map(
    (_, at) =>
      new Map<string, Found>(
        Object.entries(values).map(([contestant, of]) => [contestant, { [name]: of[at] ?? Number.NaN }]),
      ),
  );

const bound = { figure: 'requests', of: 'kmesh', to: 'no mesh', kind: 'atLeast', bound: 0.5 } as const;

test('contestants take turns in each measurement, and the order changes with the round', async () => {
  const turns: string[] = [];
  const rounds = await interleave({
    contestants: [{ name: 'a' }, { name: 'b' }],
    measurements: ['x', 'y'].map((name) => async (one: { name: string }) => {
      turns.push(`${one.name}${name}`);
      return { [name]: turns.length };
    }),
    rounds: 2,
  });
  assert.deepEqual(turns, ['ax', 'bx', 'ay', 'by', 'bx', 'ax', 'by', 'ay']);
  assert.deepEqual(rounds[0]?.get('b'), { x: 2, y: 4 });
});

test('a ratio is the median of those of the rounds, not the ratio of the medians', () => {
  const rounds = roundsOf({ 'no mesh': [100, 110, 90], kmesh: [60, 55, 63] });
  const ratio = ratioOf(rounds, bound);
  assert.equal(ratio.value, 0.6);
  assert.deepEqual(ratio.spread, [0.5, 0.7]);
  assert.equal(ratio.ok, true);
});

test('a bound that does not hold is reported, in both directions', () => {
  const rounds = roundsOf({ 'no mesh': [100, 100, 100], kmesh: [40, 40, 40] });
  assert.equal(ratioOf(rounds, bound).ok, false);
  assert.equal(ratioOf(rounds, { ...bound, kind: 'atMost' }).ok, true);
});

test('a bound on the overhead compares what each contestant adds to no mesh', () => {
  const rounds = roundsOf({ 'no mesh': [100], kmesh: [120], envoy: [300] });
  const ratio = ratioOf(rounds, { ...bound, to: 'envoy', above: 'no mesh', kind: 'atMost', bound: 0.2 });
  assert.equal(ratio.value, 0.1);
  assert.match(ratio.name, /added to no mesh/);
});

test('no ratio is computed with a baseline that drifted', () => {
  const baseline = [100, 140, 100];
  assert.ok(driftOf(baseline) > MAXIMUM_DRIFT);
  const ratio = ratioOf(roundsOf({ 'no mesh': baseline, kmesh: [60, 84, 60] }), bound);
  assert.equal(ratio.value, null);
  assert.equal(ratio.ok, false);
  assert.equal(ratio.because, 'no mesh drifted by 40 %, more than 30 %');
});

test('only the drift of the named baseline counts', () => {
  const rounds = roundsOf({ 'no mesh': [100, 140, 100], envoy: [50, 50, 50], kmesh: [100, 100, 100] });
  assert.equal(ratioOf(rounds, { ...bound, to: 'envoy' }).value, 2);
  assert.equal(ratioOf(rounds, { ...bound, to: 'envoy', baseline: 'no mesh' }).value, null);
});

test('a contestant has only the figures that it was measured for', () => {
  const rounds = [new Map([['a', { requests: 1 } as Found]])];
  const figures = figuresOf(rounds, { requests: '/s', bulk: 'Gbit/s' }, [{ name: 'a' }, { name: 'b' }]);
  assert.deepEqual(
    figures.map(({ name, contestant }) => [name, contestant]),
    [['requests', 'a']],
  );
});
