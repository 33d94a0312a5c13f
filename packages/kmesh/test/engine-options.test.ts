import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { test } from 'node:test';
import { engineOptions } from '../src/engine-options.ts';

const module = new URL('../src/engine-options.ts', import.meta.url).href;
const program = `
  const { ensureEngineOptions } = await import(${JSON.stringify(module)});
  ensureEngineOptions();
  console.log(JSON.stringify({ pid: process.pid, options: process.execArgv.slice(0, -3), arguments: process.argv.slice(1) }));
`;

function run(options: readonly string[]): { pid: number; child: number; options: string[]; stderr: string } {
  const child = spawnSync(process.execPath, [...options, '--input-type=module', '-e', program], {
    encoding: 'utf8',
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
