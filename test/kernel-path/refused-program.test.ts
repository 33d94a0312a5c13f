import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { kernelObjectPath } from '@kmesh/lab/testing/kernel/kernel-path.ts';
import { loadKernelObject } from '@kmesh/runtime';
import { objectSection } from '../../scripts/btf/btf.ts';

/** The instruction `r0 = 1` in place of the last one: a program without an exit, which every verifier refuses. */
const refused = Uint8Array.of(0xb7, 0, 0, 0, 1, 0, 0, 0);

/** kmesh.bpf.o with programs that every kernel refuses. */
function objectWithRefused(directory: string, sections: readonly string[]): string {
  const bytes = new Uint8Array(readFileSync(kernelObjectPath));
  for (const name of sections) objectSection(bytes, name)?.subarray(-refused.length).set(refused);
  const path = join(directory, 'kmesh.bpf.o');
  writeFileSync(path, bytes);
  return path;
}

test('BPF-01: a program that the verifier refuses stops the load and is named with the reason', async () => {
  const directory = mkdtempSync(join(tmpdir(), 'kmesh-refused-'));
  try {
    await assert.rejects(
      loadKernelObject({ path: objectWithRefused(directory, ['sockops']) }),
      /kmesh_sockops.*last insn is not an exit or jmp/s,
    );
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
});
