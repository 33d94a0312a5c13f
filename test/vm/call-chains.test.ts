import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { BpfLoadError, openBpfObject } from '@kmesh/linux';
import { objectFunctionNames } from '../../scripts/btf/btf.ts';
import { deepestChain } from './call-chains.ts';

test('the deepest call chain is computed as by the verifier, not as the sum of all functions', async () => {
  const bytes = compileStacks(160);
  using object = openBpfObject(bytes, 'stacks');
  await object.load({ verifierStatistics: true });
  const frames = object.verifierStatistics.get('kmesh_stacks')?.stackBytes ?? [];
  const code = object.program('kmesh_stacks').code();
  const names = objectFunctionNames(bytes);
  const nameOf = (index: number) => names.get(code.functions[index]?.type ?? 0) ?? '';
  assert.deepEqual(
    new Map(frames.map((frame, index) => [nameOf(index), frame])),
    new Map([
      ['kmesh_stacks', 160],
      ['middle', 160],
      ['deep', 160],
      ['wide', 240],
    ]),
  );
  const chain = deepestChain(code, frames);
  assert.deepEqual([chain.bytes, chain.functions.map(nameOf)], [480, ['kmesh_stacks', 'middle', 'deep']]);
});

test('a chain of more than 512 bytes is refused by the kernel and by the check', async () => {
  using object = openBpfObject(compileStacks(200), 'stacks');
  await assert.rejects(object.load(), (error) => {
    assert.ok(error instanceof BpfLoadError);
    assert.match(error.verifierLog, /combined stack size of 3 calls is (528|544)/);
    return true;
  });
});

test('frames of unknown functions and calls without a target are errors', () => {
  const instructions = new Uint8Array(16);
  instructions.set([0x85, 0x10, 1, 0]);
  const functions = [
    { start: 0, type: 1 },
    { start: 1, type: 2 },
  ];
  assert.throws(() => deepestChain({ instructions, functions }, [8]), /1 stacks for 2 functions/);
  assert.throws(() => deepestChain({ instructions, functions }, [8, 8]), /calls 2, where no function begins/);
  assert.equal(deepestChain({ instructions: new Uint8Array(8), functions: [] }, [0]).bytes, 32);
});

/** native/stacks.bpf.c; the program itself needs `room` bytes. */
function compileStacks(room: number): Uint8Array {
  const work = mkdtempSync(join(tmpdir(), 'kmesh-stacks-'));
  try {
    const libbpf = fileURLToPath(new URL('../../packages/linux/vendor/libbpf/', import.meta.url));
    const source = fileURLToPath(new URL('native/stacks.bpf.c', import.meta.url));
    const output = join(work, 'stacks.bpf.o');
    mkdirSync(join(work, 'include'));
    execFileSync('ln', ['-s', `${libbpf}src`, join(work, 'include', 'bpf')]);
    const architecture = execFileSync('uname', ['-m'], { encoding: 'utf8' }).trim();
    execFileSync('clang', [
      ...['-target', 'bpf', '-mcpu=v3', '-O2', '-g', '-I', join(work, 'include')],
      ...['-I', `${libbpf}include/uapi`, '-idirafter', `/usr/include/${architecture}-linux-gnu`],
      ...[`-DPROGRAM_ROOM=${room}`, '-c', source, '-o', output],
    ]);
    return readFileSync(output);
  } finally {
    rmSync(work, { recursive: true, force: true });
  }
}
