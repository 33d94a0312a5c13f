import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { createLab, type Lab, type LabMesh, type Pod, startMesh } from '@kmesh/lab';
import { exchange } from '@kmesh/lab/testing/traffic/echo.ts';
import { untilEnrolled } from '@kmesh/lab/testing/traffic/paths.ts';
import { policy, without } from '@kmesh/lab/testing/traffic/policies.ts';
import { ending } from '@kmesh/lab/testing/tunnel/traffic.ts';

let lab: Lab;
let mesh: LabMesh;
let server: Pod;
let victim: Pod;

before(async () => {
  lab = await createLab();
  await lab.node();
  mesh = await startMesh(lab, { kernelPath: true });
  ({ pod: server } = await mesh.pod({ name: 'server' }));
  ({ pod: victim } = await mesh.pod({ name: 'victim', captured: { variant: 'nftables' } }));
  await server.serve({ port: 8080, mode: 'double' });
  await untilEnrolled(mesh, [server, victim]);
});
after(async () => {
  await mesh?.close();
  await lab?.close();
});

/** The server's packets to the victim's address reach another pod. */
async function steal(thief: Pod): Promise<void> {
  const { stdout } = await thief.run('ip', ['-json', 'link', 'show', 'eth0']);
  const [{ address }] = JSON.parse(stdout) as [{ address: string }];
  await thief.addAddress(victim.addresses.v4, 'lo');
  await server.run('ip', ['neigh', 'replace', victim.addresses.v4, 'lladdr', address, 'dev', 'eth0']);
}

for (const { what, captured, dial } of [
  {
    what: 'a pod outside the mesh',
    captured: false,
    dial: (thief: Pod) =>
      thief.connect({ host: server.addresses.v4, port: 8080, localAddress: victim.addresses.v4 }),
  },
  {
    what: 'a pod of the mesh whose routes choose it',
    captured: true,
    dial: async (thief: Pod) => {
      const route = [
        'route',
        'replace',
        `${server.addresses.v4}/32`,
        'dev',
        'eth0',
        'src',
        victim.addresses.v4,
      ];
      await thief.run('ip', route);
      return await thief.connect({ host: server.addresses.v4, port: 8080 });
    },
  },
]) {
  test(`NEG-02: the live connection of ${what} that took the address of a pod is not judged as that pod's`, async () => {
    const { pod: thief } = await mesh.pod({ name: `thief-${captured}`, captured });
    if (captured) await untilEnrolled(mesh, [thief]);
    await steal(thief);
    const watch = await mesh.node().proxy.watch();
    const socket = await dial(thief);
    socket.on('error', () => undefined);
    assert.equal(socket.localAddress?.replace('::ffff:', ''), victim.addresses.v4);
    await exchange(socket);
    const principals = [{ kind: 'Exact', value: 'cluster.local/ns/default/sa/sa-victim' }] as const;
    const onlyVictim = policy('Allow', { principals });
    await mesh.apply(onlyVictim);
    assert.notEqual(await ending(socket, 5_000), 'open');
    // Its packets do not come from the pod whose address they have, so no identity was attested.
    const line = await watch.line('inbound', { path: 'tunnel' });
    assert.match(line.fields['error'] ?? '', /policy change/);
    assert.equal(line.fields['src.identity'], undefined);
    await mesh.apply(without(onlyVictim));
  });
}
