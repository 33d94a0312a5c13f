/**
 * A pod is removed and another pod with another identity gets its address, while records of the first one still exist.
 */
import assert from 'node:assert/strict';
import type { Socket } from 'node:net';
import { after, before, describe, test } from 'node:test';
import { eventually } from '@kmesh/api/testing';
import { createLab, type Lab, type LabMesh, type MeshPod, type Pod, startMesh, workloadOf } from '@kmesh/lab';
import { takesKernelPath } from '@kmesh/lab/testing/daemon/pinned-node.ts';
import { buildNative } from '@kmesh/lab/testing/kernel/dialer.ts';
import { exchange, open } from '@kmesh/lab/testing/traffic/echo.ts';
import { policy } from '@kmesh/lab/testing/traffic/policies.ts';

const allow = (...names: string[]) =>
  policy(
    'Allow',
    {
      principals: names.map(
        (name) => ({ kind: 'Exact', value: `cluster.local/ns/default/sa/sa-${name}` }) as const,
      ),
    },
    { name: 'only' },
  );

/** Records of the first pod that exist when the second one starts. */
const orders = {
  'once its removal is known': ['workload', 'pod', 'fresh'],
  'before any component knows of its removal': ['fresh'],
  'before the node knows of its removal': ['workload', 'fresh'],
  'before the mesh state knows of its removal': ['pod', 'fresh'],
} as const;

describe('the address of a removed pod that another pod gets', () => {
  const evade = buildNative('evade', new URL('native/', import.meta.url));
  let lab: Lab;
  let mesh: LabMesh;
  let server: Pod;
  let pods = 0;

  before(async () => {
    lab = await createLab();
    await lab.node();
    mesh = await startMesh(lab, { kernelPath: true });
    ({ pod: server } = await mesh.pod({ name: 'server', captured: { variant: 'nftables' } }));
    await server.serve({ port: 8080, mode: 'http' });
    await server.serve({ port: 8081, mode: 'double' });
  });
  after(async () => {
    await mesh?.close();
    await lab?.close();
  });

  /** A pod with the address of another pod, whose interface was removed. */
  async function withAddressOf(first: Pod): Promise<Pod> {
    const { node } = mesh.node();
    await first.run('ip', ['link', 'delete', 'eth0']);
    const fresh = await node.pod({ name: `fresh-${pods}`, serviceAccount: 'sa-fresh' });
    const shown = await fresh.run('ip', ['-json', '-4', 'address', 'show', 'eth0']);
    const [{ addr_info }] = JSON.parse(shown.stdout) as [{ addr_info: [{ prefixlen: number }] }];
    const prefix = addr_info[0].prefixlen;
    const routes = (await fresh.run('ip', ['route', 'show', 'default'])).stdout.trim().split(/\s+/);
    await fresh.run('ip', ['address', 'flush', 'dev', 'eth0']);
    await fresh.run('ip', ['address', 'add', `${first.addresses.v4}/${prefix}`, 'dev', 'eth0']);
    if (routes.length > 1) await fresh.run('ip', ['route', 'replace', ...routes]);
    for (const host of [node, server]) await host.run('ip', ['neigh', 'flush', 'all']);
    return fresh;
  }

  /** Returns the server's answer to a connection from this address and port. */
  async function answer(from: Pod, source: string, port = 8081): Promise<string> {
    const to = `connect=${server.addresses.v4}:${port}`;
    const { stdout } = await from.run(evade, ['patience=1500', `bind=${source}`, to, 'send']);
    return stdout.slice(stdout.indexOf(':') + 1).trim();
  }

  for (const [when, order] of Object.entries(orders)) {
    test(`NEG-02: the second pod does not get the identity of the first one, ${when}`, async () => {
      const first: MeshPod = await mesh.pod({ name: `first-${++pods}`, serviceAccount: 'sa-first' });
      const ip = first.pod.addresses.v4;
      await mesh.apply(allow('first'));
      await takesKernelPath(mesh, first.pod, `${server.addresses.v4}:8080`);
      const live: Socket = await open(first.pod, server.addresses.v4, 8081);
      await exchange(live);

      const fresh = await withAddressOf(first.pod);
      const { agent } = mesh.node();
      const workload = workloadOf(fresh, { protocol: 'HBONE', addresses: [ip] });
      for (const step of order) {
        if (step === 'workload') await mesh.apply({ kind: 'removeWorkload', uid: first.workload.uid });
        else if (step === 'pod') await agent.sendDelete(first.pod);
        else {
          await mesh.apply(workload);
          await agent.addPod(fresh, { variant: 'nftables' });
        }
      }
      // From the addresses and ports of the live connection, and from others.
      for (const source of [`${ip}:${live.localPort}`, `${ip}:0`])
        assert.equal(await answer(fresh, source), '', source);
      live.destroy();

      if (!order.some((step) => step === 'workload'))
        await mesh.apply({ kind: 'removeWorkload', uid: first.workload.uid }, workload);
      if (!order.some((step) => step === 'pod')) await agent.sendDelete(first.pod);
      assert.equal(await answer(fresh, `${ip}:${live.localPort ?? 0}`), '');
      // It has its own identity: once a policy allows that, it is served.
      await mesh.apply(allow('fresh'));
      await eventually(
        'the second pod is served',
        async () => (await answer(fresh, `${ip}:0`)) !== '',
        15_000,
      );
      await mesh.apply({ kind: 'removeWorkload', uid: workload.uid });
      await agent.removePod(fresh);
      await fresh.run('ip', ['link', 'delete', 'eth0']);
    });
  }
});
