import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createLab, startMesh } from '@kmesh/lab';
import { echo } from '@kmesh/lab/testing/traffic/echo.ts';

test('a pod is served as itself while a pod with its name, on a node with the name of its node, comes and goes in another cluster', async () => {
  await using lab = await createLab();
  await lab.node();
  await using mesh = await startMesh(lab, { kernelPath: false });
  const { pod: client, workload: own } = await mesh.pod({ name: 'web-0' });
  const { pod: server } = await mesh.pod({ name: 'server' });
  await server.serve({ port: 8080, mode: 'double' });
  const uid = own.uid.replace(/^[^/]*/, 'other');
  const namesake = { ...own, uid, clusterId: 'other', addresses: ['10.9.9.9'] };
  for (const change of [namesake, { kind: 'removeWorkload', uid } as const]) {
    await mesh.apply(change);
    const watch = await mesh.node().proxy.watch();
    await echo(client, server.addresses.v4, 8080);
    const { fields } = await watch.line('outbound');
    assert.deepEqual(
      [fields['src.workload'], fields['src.cluster']],
      [own.name, own.clusterId],
      'kind' in change ? 'after the other has gone' : 'with the other',
    );
  }
});
