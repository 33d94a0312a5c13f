import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { test } from 'node:test';
import { engineOptions } from '../src/engine-options.ts';

const module = new URL('../src/engine-options.ts', import.meta.url).href;
const program = `
  const { ensureEngineOptions } = await import(${JSON.stringify(module)});
  ensureEngineOptions();
  console.log(JSON.stringify({ pid: process.pid, options: process.execArgv.slice(0, -3), arguments: process.argv.slice(1), environment: process.env }));
`;

interface Run {
  readonly pid: number;
  readonly child: number;
  readonly options: string[];
  readonly environment: Record<string, string>;
  readonly stderr: string;
}

function run(options: readonly string[], environment: Record<string, string> = {}): Run {
  const child = spawnSync(process.execPath, [...options, '--input-type=module', '-e', program], {
    encoding: 'utf8',
    env: { ...process.env, ...environment },
  });
  return { ...JSON.parse(child.stdout), child: child.pid, stderr: child.stderr };
}

test('the process begins anew with the options of the engine, in place and without a word', () => {
  const { pid, child, options, stderr } = run([]);
  assert.deepEqual(options, engineOptions);
  assert.equal(pid, child);
  assert.equal(stderr, '');
});

test('an option given by hand stays as it is', () => {
  const { options } = run(['--max_semi_space_size=8']);
  assert.deepEqual(options, ['--initial-old-space-size=192', '--max_semi_space_size=8']);
});

test('the allocator and the module loader get their variables, and those given by hand stay as they are', () => {
  const { environment } = run([], { MALLOC_ARENA_MAX: '7' });
  assert.equal(environment['MALLOC_ARENA_MAX'], '7');
  assert.equal(environment['MALLOC_MMAP_THRESHOLD_'], '131072');
  assert.match(environment['NODE_COMPILE_CACHE'] ?? '', /build\/compile-cache$/);
  assert.equal(environment['PATH'], process.env['PATH']);
});
