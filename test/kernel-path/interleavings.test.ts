import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { after, before, describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';

const model = fileURLToPath(new URL('./model/', import.meta.url));

/** What one story came to, see interleavings.c. */
interface Outcome {
  readonly change?: string;
  readonly orders: number;
  readonly with_passage: number;
  readonly leaks: number;
}

describe('the judgement of packets, compiled for user space', () => {
  let directory = '';
  let program = '';

  before(() => {
    directory = mkdtempSync(`${tmpdir()}/kmesh-model-`);
    program = `${directory}/interleavings`;
    execFileSync('cc', ['-O2', '-Wall', '-Wextra', `-I${model}`, '-o', program, `${model}interleavings.c`]);
  });
  after(() => rmSync(directory, { recursive: true, force: true }));

  function run(parameters: readonly string[], environment: Readonly<Record<string, string>> = {}): Outcome[] {
    const text = execFileSync(program, [...parameters], {
      encoding: 'utf8',
      env: { ...process.env, ...environment },
    });
    return text
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line) as Outcome);
  }

  test('NEG-10: in every order of table accesses nothing passes that a change before it forbids', () => {
    const outcomes = run(['exhaustive']);
    assert.equal(outcomes.length, 10);
    for (const { change, orders, with_passage, leaks } of outcomes) {
      assert.equal(leaks, 0, change ?? '');
      assert.ok(orders > 50 && with_passage > 0, `${change}: ${orders} orders, ${with_passage} with passage`);
    }
  });

  test('NEG-10: in 100,000 random orders of longer stories, with memory used again and spoofed packets, neither', () => {
    const [outcome] = run(['random', '100000', '1']);
    assert.equal(outcome?.orders, 100_000);
    assert.equal(outcome?.leaks, 0);
    assert.ok((outcome?.with_passage ?? 0) > 10_000);
  });

  test('a daemon that does not make old judgements void is found out', () => {
    const [outcome] = run(['random', '2000', '1'], { CARELESS: '1' });
    assert.ok((outcome?.leaks ?? 0) > 0);
  });
});
