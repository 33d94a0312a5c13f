import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { eventually } from '@kmesh/api/testing';
import {
  connectFrom,
  createLab,
  keyOf,
  type Lab,
  type LabMesh,
  openHbone,
  type Pod,
  serviceOf,
  startMesh,
  workloadOf,
} from '@kmesh/lab';
import { attempt, echo, spiffe } from '@kmesh/lab/testing/traffic/echo.ts';

for (const kernelPath of [false, true]) {
  describe(`XDS_ON_DEMAND, ${kernelPath ? 'with' : 'without'} a kernel path`, () => {
    let lab: Lab;
    let mesh: LabMesh;
    let client: Pod;
    let server: Pod;
    let outside: Pod;
    const service = serviceOf({ name: 'shop', vips: ['10.96.0.40'], ports: { 80: 8080 } });

    before(async () => {
      lab = await createLab();
      await lab.node();
      await lab.node();
      mesh = await startMesh(lab, { kernelPath, environment: { XDS_ON_DEMAND: 'true' } });
      await mesh.apply(service);
      const services = { [keyOf(service)]: {} };
      ({ pod: server } = await mesh.pod({ name: 'server', workload: { services } }, 1));
      ({ pod: outside } = await mesh.pod({ name: 'outside', captured: false }, 1));
      for (const pod of [server, outside]) await pod.serve({ port: 8080, mode: 'double' });
      ({ pod: client } = await mesh.pod({ name: 'client' }));
    });
    after(async () => {
      await mesh?.close();
      await lab?.close();
    });

    /** Connects from the client; returns what its side of the connection logs. */
    async function dial(ip: string, port: number): Promise<Record<string, string>> {
      const watch = await mesh.node().proxy.watch();
      await echo(client, ip, port);
      return (await watch.line('outbound')).fields;
    }

    test('XDS-14: a pod accepts a request for its service by host name, and answers that an unknown one is unavailable', async () => {
      const socket = await connectFrom(outside, { host: server.addresses.v4, port: 15008 });
      using peer = await openHbone(socket, { identity: mesh.identity(client) });
      const { status } = await peer.request('shop.default.svc.cluster.local:80');
      assert.equal(status, 200);
      assert.equal((await peer.request('other.default.svc.cluster.local:80')).status, 503);
    });

    test('XDS-14: the first connection to a pod, and to a service, takes HBONE', async () => {
      for (const [ip, port] of [
        [server.addresses.v4, 8080],
        ['10.96.0.40', 80],
      ] as const) {
        const fields = await dial(ip, port);
        assert.equal(fields['dst.identity'], spiffe(server), ip);
        assert.equal(fields['dst.hbone_addr'], `${server.addresses.v4}:8080`, ip);
      }
    });

    test('XDS-14: an address that the control plane does not know is outside the mesh, each time', async () => {
      await mesh.apply({ kind: 'removeWorkload', uid: workloadOf(outside).uid });
      for (let round = 0; round < 2; round++) {
        const fields = await dial(outside.addresses.v4, 8080);
        assert.deepEqual([fields['dst.workload'], fields['path']], [undefined, 'tunnel']);
      }
    });

    /** Connects until the client's side names this workload as the destination. */
    async function untilReached(name: string | undefined, ip: string, port: number): Promise<void> {
      await eventually(`${ip} is ${name ?? 'outside the mesh'}`, async () => {
        const fields = await dial(ip, port).catch(() => undefined);
        return fields !== undefined && fields['dst.workload'] === name;
      });
    }

    test('XDS-14: an address that enters the mesh later is found, and one that left it is requested again', async () => {
      const { v4 } = outside.addresses;
      const { uid } = workloadOf(outside);
      await mesh.apply(workloadOf(outside));
      await untilReached('outside', v4, 8080);
      await mesh.apply({ kind: 'removeWorkload', uid });
      await untilReached(undefined, v4, 8080);
      await mesh.apply({ ...workloadOf(outside), uid: uid.replace('outside', 'next'), name: 'next' });
      await untilReached('next', v4, 8080);
    });

    test('XDS-14: a service that lost its endpoints is requested again', async () => {
      const { pod: other } = await mesh.pod(
        { name: 'other', workload: { services: { [keyOf(service)]: {} } } },
        1,
      );
      await other.serve({ port: 8080, mode: 'double' });
      await mesh.apply(workloadOf(server, { protocol: 'HBONE' }));
      await untilReached('other', '10.96.0.40', 80);
    });

    test('XDS-14: without an answer the connection is refused, and not passed through', async () => {
      mesh.istiod.faults.stall(true);
      const unknown = await lab.outsideHost();
      await unknown.serve({ port: 8080, mode: 'double' });
      const { how, bytes } = await attempt(client, unknown.addresses.v4, 8080, 'hello', 8_000);
      assert.deepEqual([how === 'open', bytes], [false, '']);
      mesh.istiod.faults.stall(false);
      await echo(client, unknown.addresses.v4, 8080);
    });
  });
}
