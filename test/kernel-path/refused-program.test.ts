import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { kernelObjectPath } from '@kmesh/lab/testing/kernel/kernel-path.ts';
import { liveFlowsObstacles, loadKernelObject } from '@kmesh/runtime';
import { objectSection } from '../../scripts/btf/btf.ts';

/** The instruction `r0 = 1` in place of the last one: a program without an end, which every verifier refuses. */
const refused = Uint8Array.of(0xb7, 0, 0, 0, 1, 0, 0, 0);

/** kmesh.bpf.o with programs that no kernel takes. */
function objectWithRefused(directory: string, sections: readonly string[]): string {
  const bytes = new Uint8Array(readFileSync(kernelObjectPath));
  for (const name of sections) objectSection(bytes, name)?.subarray(-refused.length).set(refused);
  const path = join(directory, 'kmesh.bpf.o');
  writeFileSync(path, bytes);
  return path;
}

test('BPF-01: a program that the verifier refuses costs what it is for and nothing else; one that all need stops the load and is named', async () => {
  const directory = mkdtempSync(join(tmpdir(), 'kmesh-refused-'));
  try {
    const leftOut: [string, string][] = [];
    using object = await loadKernelObject({
      path: objectWithRefused(directory, ['iter/bpf_sk_storage_map']),
      onLeftOut: (program, reason) => leftOut.push([program, reason]),
    });
    assert.deepEqual(
      leftOut.map(([program]) => program),
      ['kmesh_live'],
    );
    for (const [, reason] of leftOut) assert.match(reason, /last insn is not an exit or jmp/);
    assert.deepEqual(liveFlowsObstacles(object), ['the verifier refused kmesh_live']);
    for (const name of ['kmesh_connect4', 'kmesh_connect6', 'kmesh_sockops', 'kmesh_ingress']) {
      assert.ok(object.programNames.includes(name), name);
    }
    await assert.rejects(
      loadKernelObject({ path: objectWithRefused(directory, ['sockops']) }),
      /kmesh_sockops/,
    );
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
});
