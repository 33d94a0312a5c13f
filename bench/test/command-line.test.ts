import assert from 'node:assert/strict';
import { existsSync, readFileSync } from 'node:fs';
import { test } from 'node:test';
import { readOptions } from '../harness/options.ts';
import { progressLine, secondsLeft } from '../harness/progress.ts';
import { suites } from '../harness/suites.ts';

test('without a name all suites run, in their order', () => {
  assert.deepEqual(
    readOptions(['--quick']).names,
    suites.map(({ name }) => name),
  );
});

test('names run in the order in which they are given', () => {
  const options = readOptions(['hook', 'dns', '--json', '--store']);
  assert.deepEqual(options.names, ['hook', 'dns']);
  assert.ok(options.json && options.store && !options.quick);
  assert.equal(readOptions(['hook', '--compare', 'HEAD~1']).compare, 'HEAD~1');
  assert.deepEqual(readOptions(['tunnel', 'xds']).names, ['onenode', 'twonodes', 'xds']);
});

for (const [words, problem] of [
  [['hooks'], '"hooks" is not a suite'],
  [['--fast'], '--fast is not an option'],
  [['hook', '--compare'], '--compare needs a revision'],
  [['hook', '--quick', '--store'], 'figures of a --quick run are not stored'],
  [['hook', '--compare', 'main', '--store'], 'a comparison of two revisions is not stored'],
  [['guard', 'hook'], 'guard stands alone'],
  [['report', '--store'], 'report stands alone'],
] as const) {
  test(`refuses "${words.join(' ')}" and says why`, () => {
    assert.throws(() => readOptions(words), {
      message: new RegExp(`^bench: ${problem}[^]*usage: npm run bench`),
    });
  });
}

test('all suites together take at most 20 minutes, the guard is not one of them, and each is in the README', () => {
  assert.ok(suites.reduce((sum, { seconds }) => sum + seconds, 0) <= 20 * 60);
  const readme = readFileSync(new URL('../README.md', import.meta.url), 'utf8');
  for (const { name } of suites) {
    assert.ok(existsSync(new URL(`../${name}.ts`, import.meta.url)), `bench/${name}.ts is missing`);
    assert.ok(readme.includes(`| \`${name}\` |`), `bench/README.md does not name ${name}`);
  }
  assert.ok(suites.every(({ name }) => name !== 'guard'));
});

test("the remaining time is the planned one at first, and the suite's own estimate later", () => {
  const expected = [100, 60];
  assert.equal(secondsLeft({ expected, at: 0, part: 0, elapsed: 0 }), 160);
  assert.equal(secondsLeft({ expected, at: 0, part: 0.1, elapsed: 50 }), 110);
  assert.equal(secondsLeft({ expected, at: 0, part: 0.5, elapsed: 100 }), 160);
  assert.equal(secondsLeft({ expected, at: 1, part: 0, elapsed: 90 }), 0);
});

test('the line of progress names suite, round, place and time', () => {
  const line = progressLine({ suite: 'twonodes', at: 2, of: 13, what: 'round 2 of 5', left: 840 });
  assert.equal(line, 'bench: twonodes, round 2 of 5; suite 2 of 13; about 14 min left');
});
