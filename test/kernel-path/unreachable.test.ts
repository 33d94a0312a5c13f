import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { after, before, describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';

const model = fileURLToPath(new URL('./model/', import.meta.url));

describe('how long a port counts as unreachable, compiled for user space', () => {
  let directory = '';

  before(() => {
    directory = mkdtempSync(`${tmpdir()}/kmesh-unreachable-`);
    const options = ['-O1', '-Wall', '-Wextra', `-I${model}`];
    execFileSync('cc', [...options, '-o', `${directory}/unreachable`, `${model}unreachable.c`]);
  });
  after(() => rmSync(directory, { recursive: true, force: true }));

  /** Returns the answers to all queries, in order; `note`: a first packet was retransmitted without an answer. */
  function answers(questions: readonly (readonly [second: number, what: 'ask' | 'note'])[]): number[] {
    const input = questions.map(([second, what]) => `${second} ${what}\n`).join('');
    const output = execFileSync(`${directory}/unreachable`, { input, encoding: 'utf8' });
    return output.trim().split('\n').map(Number);
  }

  test('one minute at first, then twice as long each time, at most sixteen minutes', () => {
    // Each span begins when the previous one has ended.
    const seconds = [1_000, 1_060, 1_180, 1_420, 1_900, 2_860, 3_820];
    assert.deepEqual(answers(seconds.map((second) => [second, 'note'])), [60, 120, 240, 480, 960, 960, 960]);
  });

  test('further failures do not extend it', () => {
    assert.deepEqual(
      answers([
        [1_000, 'ask'],
        [1_000, 'note'],
        [1_001, 'note'],
        [1_059, 'ask'],
        [1_060, 'ask'],
      ]),
      [0, 60, 0, 1, 0],
    );
  });

  test('it starts at one minute again once the port was reachable for the maximum time', () => {
    const again = (pause: number) =>
      answers([
        [1_000, 'note'],
        [1_060 + pause, 'note'],
      ]).at(-1);
    assert.deepEqual([again(960), again(961)], [120, 60]);
  });
});
