import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { createLab, type Lab, startMesh } from '@kmesh/lab';

const root = fileURLToPath(new URL('../..', import.meta.url));
const kmeshctl = join(root, 'packages/ctl/src/main.ts');
const OFF = 'no redirect from socket to socket';

let directory: string;
let lab: Lab;

before(async () => {
  directory = mkdtempSync(join(tmpdir(), 'kmesh-variant-'));
  lab = await createLab();
  await lab.node();
});
after(async () => {
  await lab?.close();
  rmSync(directory, { recursive: true, force: true });
});

/** What a daemon with redirect says of it: in its log and to `kmeshctl check`. */
async function startWith(
  settings: Readonly<Record<string, string>>,
): Promise<{ log: string; check: string }> {
  await using mesh = await startMesh(lab, {
    kernelPath: true,
    environment: { KMESH_REDIRECT: 'true', ...settings },
  });
  const { node, proxy } = mesh.node();
  const answer = await node.run(process.execPath, [kmeshctl, 'check'], { check: false });
  return { log: proxy.log, check: answer.stdout };
}

test('BPF-04, BPF-05: the self-test finds redirect in order on this kernel, and it stays on', async () => {
  const { log, check } = await startWith({});
  assert.ok(!log.includes(OFF), log);
  assert.ok(!check.includes('redirect from socket to socket'), check);
});

test('BPF-04: a redirect that changes bytes is switched off, with what failed in one log line and in kmeshctl check', async () => {
  const variant = join(directory, 'spoilt.bpf.o');
  execFileSync('bash', ['scripts/build-bpf.sh'], {
    cwd: root,
    env: { ...process.env, KMESH_BPF_OUTPUT: variant, KMESH_BPF_DEFINES: '-DKMESH_SPOIL_REDIRECT' },
  });
  const { log, check } = await startWith({ KMESH_BPF_OBJECT: variant });
  const lines = log.split('\n').filter((line) => line.includes(OFF));
  assert.equal(lines.length, 1, log);
  assert.match(
    lines[0] ?? '',
    /self-test failed on this kernel: from .* byte \d+ is not the one that was sent/,
  );
  assert.match(check, /redirect from socket to socket.*byte \d+ is not the one that was sent/);
});
