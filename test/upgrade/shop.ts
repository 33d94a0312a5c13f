import assert from 'node:assert/strict';
import { eventually } from '@kmesh/api/testing';
import { keyOf, parseAccessLog, serviceOf } from '@kmesh/lab';
import type { DaemonMesh } from '@kmesh/lab/testing/daemon/daemon-mesh.ts';
import type { DaemonProcess } from '@kmesh/lab/testing/daemon/daemon-process.ts';

/** The service's address. */
export const VIP = '10.96.0.1';

/** A node with a client and a service of two servers, whose CNI agent reports them to every daemon that connects. */
export async function shop(mesh: DaemonMesh) {
  const place = await mesh.node();
  const service = serviceOf({
    name: 'shop',
    vips: { v4: VIP, v6: 'fd00:96::1' },
    ports: { 80: 8080 },
  });
  mesh.istiod.update([{ kind: 'service', service }]);
  const client = await mesh.pod(place.node);
  const servers = [];
  for (let at = 0; at < 2; at++) {
    const server = await mesh.pod(place.node, { services: { [keyOf(service)]: {} } });
    await server.serve({ port: 8080, mode: 'http' });
    await server.serve({ port: 8081, mode: 'double' });
    servers.push(server);
  }
  for (const pod of [client, ...servers]) await place.agent.addPod(pod);
  return { place, client, service, servers: servers as [(typeof servers)[0], (typeof servers)[0]] };
}

/** Resolves when this daemon reports a dialled connection as on the kernel path. */
export async function takesKernelPath(
  daemon: DaemonProcess,
  dial: () => Promise<{ readonly failures: readonly unknown[] }>,
): Promise<void> {
  await daemon.until(
    'connections take the kernel path',
    async () => {
      const before = daemon.log().length;
      assert.deepEqual((await dial()).failures, []);
      const lines = () => parseAccessLog(daemon.log().slice(before));
      // Another daemon may have reported it.
      await eventually('a line', () => lines().length > 0, 1_000).catch(() => undefined);
      return lines().some(({ fields }) => fields['path'] === 'kernel');
    },
    20_000,
  );
}
