import assert from 'node:assert/strict';
import { chmodSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { commandOf, createLab, exportMachinePath, kmeshExecutable, startMesh } from '@kmesh/lab';
import { echo } from '@kmesh/lab/testing/traffic/echo.ts';

test('the tunnel path needs only the capabilities that docs/security.md marks', async () => {
  const page = readFileSync(new URL('../../docs/security.md', import.meta.url), 'utf8');
  const rows = [...page.matchAll(/^\| `CAP_(\w+)` \(\d+\) \| .*the tunnel path needs it/gm)];
  const needed = rows.map(([, name = '']) => name.toLowerCase());
  assert.deepEqual(needed, ['net_admin', 'sys_admin']);
  const directory = mkdtempSync(join(tmpdir(), 'kmesh-privileges-'));
  try {
    const executable = join(directory, 'kmesh');
    const only = `setpriv --inh-caps=-all --bounding-set=-all,${needed.map((name) => `+${name}`).join(',')}`;
    const command = commandOf(kmeshExecutable).flat().join(' ');
    writeFileSync(executable, `#!/bin/sh\n${exportMachinePath()}\nexec ${only} -- ${command} "$@"\n`);
    chmodSync(executable, 0o755);
    await using lab = await createLab();
    await lab.node();
    await lab.node();
    await using mesh = await startMesh(lab, { kernelPath: false, executable });
    const { pod: client } = await mesh.pod({ name: 'client' });
    const { pod: near } = await mesh.pod({ name: 'near', captured: { variant: 'nftables' } });
    const { pod: far } = await mesh.pod({ name: 'far' }, 1);
    const { pod: plain } = await mesh.pod({ name: 'plain', captured: false });
    for (const node of [0, 1]) {
      const { pid } = mesh.node(node).proxy;
      const status = readFileSync(`/proc/${pid}/status`, 'utf8');
      assert.match(status, /^CapBnd:\s*0000000000201000$/m);
    }
    for (const server of [near, far, plain]) {
      await server.serve({ port: 8080, mode: 'double' });
      for (const address of [server.addresses.v4, server.addresses.v6]) await echo(client, address);
    }
    for (const address of [near.addresses.v4, near.addresses.v6]) await echo(plain, address);
    assert.doesNotMatch(mesh.node().proxy.log, /EPERM|EACCES/);
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
});
