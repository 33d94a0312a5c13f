import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createLab, startMesh } from '@kmesh/lab';
import { exchange, open } from '@kmesh/lab/testing/traffic/echo.ts';
import { untilEnrolled } from '@kmesh/lab/testing/traffic/paths.ts';
import { policy, without } from '@kmesh/lab/testing/traffic/policies.ts';
import { ending } from '@kmesh/lab/testing/tunnel/traffic.ts';

const ROUNDS = 40;
const denial = policy('Deny', {
  principals: [{ kind: 'Exact', value: 'cluster.local/ns/default/sa/sa-client' }],
});

// On either path. The reset is sent while the verdicts are written; all other packets are dropped then and
// retransmitted.
test('NEG-10: an idle connection that a policy denies is reset at both ends', async () => {
  await using lab = await createLab();
  await lab.node();
  await using mesh = await startMesh(lab, { kernelPath: true });
  const { pod: client } = await mesh.pod({ name: 'client' });
  const { pod: server } = await mesh.pod({ name: 'server', captured: { variant: 'nftables' } });
  await server.serve({ port: 8080, mode: 'double' });
  await untilEnrolled(mesh, [client, server]);
  const ends: string[] = [];
  for (let round = 0; round < ROUNDS; round++) {
    const socket = await open(client, server.addresses.v4, 8080);
    await exchange(socket);
    await mesh.apply(denial);
    ends.push(await ending(socket, 10_000));
    await mesh.apply(without(denial));
  }
  assert.deepEqual(ends, Array(ROUNDS).fill('reset'));
});
