import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { after, before, describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';

const bpf = fileURLToPath(new URL('../../bpf/', import.meta.url));
const model = fileURLToPath(new URL('./model/', import.meta.url));

/** Mistakes in `live.h`, and the model's message for each. */
const mistakes = [
  {
    what: 'a stack with its earlier head counts as unchanged',
    from: 'return ((head >> 32) + 1) << 32 | place;',
    to: 'return (head & 0) | place;',
    found: /a place has two owners/,
  },
  {
    what: 'a place that cannot be returned is lost',
    from: '*(volatile __u64 *)&given->socket = KMESH_LIVE_LEFT;',
    to: ';',
    found: /a place is not left to the reader/,
  },
  {
    what: 'a place is returned repeatedly',
    from: 'if (__sync_val_compare_and_swap(&left->socket, socket, 0) == socket)',
    to: 'if (socket)',
    found: /a place has two owners/,
  },
  {
    what: 'places beyond the last are counted',
    from: 'if (*(volatile __u32 *)&places->used >= KMESH_MAX_LIVE)',
    to: 'if (!places)',
    found: /places are counted that are not there/,
  },
] as const;

describe('places of live flows, compiled for user space', () => {
  let directory = '';
  let program = '';

  before(() => {
    directory = mkdtempSync(`${tmpdir()}/kmesh-places-`);
    program = compile(model, `${directory}/places`);
  });
  after(() => rmSync(directory, { recursive: true, force: true }));

  function compile(folder: string, output: string): string {
    const options = ['-O1', '-Wall', '-Wextra', '-pthread', `-I${folder}`];
    execFileSync('cc', [...options, '-o', output, `${folder}places.c`], {
      stdio: ['ignore', 'inherit', 'pipe'],
    });
    return output;
  }

  /** Builds the model of a `live.h` with a mistake. */
  function compileWith(name: string, from: string, to: string): string {
    const tree = `${directory}/${name}/`;
    const folder = `${tree}test/kernel-path/model/`;
    mkdirSync(folder, { recursive: true });
    cpSync(bpf, `${tree}bpf`, { recursive: true });
    cpSync(model, folder, { recursive: true });
    const text = readFileSync(`${bpf}live.h`, 'utf8');
    assert.equal(text.split(from).length, 2, `live.h has once: ${from}`);
    writeFileSync(`${tree}bpf/live.h`, text.replace(from, to));
    return compile(folder, `${tree}places`);
  }

  test('no place has two owners or is lost, also under contention and when none is free', () => {
    execFileSync(program, []);
  });

  test('after four threads take and return places 300,000 times each, every place is free once', () => {
    const { used, left } = JSON.parse(execFileSync(program, ['300000'], { encoding: 'utf8' })) as {
      readonly used: number;
      readonly left: number;
    };
    assert.ok(used > 0 && left <= used, `${used} used, ${left} left to the reader`);
  });

  for (const [at, mistake] of mistakes.entries()) {
    test(`the model detects that ${mistake.what}`, () => {
      const { from, to, found } = mistake;
      const careless = compileWith(`${at}`, from, to);
      assert.throws(() => execFileSync(careless, [], { encoding: 'utf8', stdio: 'pipe' }), found);
    });
  }
});
