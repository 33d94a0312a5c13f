import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { after, before, describe, test } from 'node:test';
import { createLab, keyOf, type Lab, type LabMesh, type Pod, serviceOf, startMesh } from '@kmesh/lab';
import { takesKernelPath } from '@kmesh/lab/testing/daemon/pinned-node.ts';
import { buildNative } from '@kmesh/lab/testing/kernel/dialer.ts';

/** Source port from which several services are dialled. */
const FIXED_PORT = 4_321;

describe('an application that dials services of one backend', () => {
  let lab: Lab;
  let mesh: LabMesh;
  let client: Pod;
  let server: Pod;
  let services: string[];

  before(async () => {
    lab = await createLab();
    await lab.node();
    mesh = await startMesh(lab, {
      kernelPath: true,
      environment: { KMESH_PINS: `${await lab.bpffs()}/kmesh` },
    });
    services = [];
    const memberships: Record<string, Record<number, number>> = {};
    for (const name of ['first', 'second', 'third']) {
      const { addresses } = await lab.outsideHost(`vip-${name}`);
      const service = serviceOf({ name, vips: addresses, ports: { 80: 8080 } });
      await mesh.apply(service);
      memberships[keyOf(service)] = {};
      services.push(`${addresses.v4}:80`);
    }
    ({ pod: server } = await mesh.pod({ name: 'server', workload: { services: memberships } }));
    ({ pod: client } = await mesh.pod({ name: 'client', captured: { variant: 'nftables' } }));
    await server.serve({ port: 8080, mode: 'double' });
    await server.serve({ port: 8081, mode: 'http' });
    await takesKernelPath(mesh, client, `${server.addresses.v4}:8081`);
  });
  after(async () => {
    await mesh?.close();
    await lab?.close();
  });

  /** Returns the outcome of each dial. */
  async function dial(protocol: 'tcp' | 'mptcp', port: number, to: readonly string[]): Promise<string[]> {
    const program = buildNative('sequence', new URL('native/', import.meta.url));
    const { stdout } = await client.run(program, [protocol, `${port}`, ...to]);
    return stdout.trim().split('\n');
  }

  const served = (to: readonly string[]) => to.map((address) => `${address} 10`);
  /** Paths of the client's connections by dialled address. */
  async function paths(count: number, act: () => Promise<void>): Promise<string[]> {
    const watch = await mesh.node().proxy.watch();
    await act();
    const lines = await watch.access('outbound', count);
    return lines.map(({ fields }) => fields['path'] ?? '').sort();
  }

  test('may dial the backend and all services from one port, as without a mesh', async () => {
    const to = [`${server.addresses.v4}:8080`, ...services];
    const taken = await paths(to.length, async () =>
      assert.deepEqual(await dial('tcp', FIXED_PORT, to), served(to)),
    );
    // From one port the kernel can have one connection to the backend: the tunnel carries the others.
    assert.deepEqual(taken, ['kernel', 'tunnel', 'tunnel', 'tunnel']);
  });

  test('sees the dialled address as peer, also on an MPTCP socket', async () => {
    assert.equal(readFileSync('/proc/sys/net/mptcp/enabled', 'utf8').trim(), '1');
    const taken = await paths(services.length, async () =>
      assert.deepEqual(await dial('mptcp', 0, services), served(services)),
    );
    assert.deepEqual(taken, Array(services.length).fill('kernel'));
  });
});
