import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { number32, type Pod, serveRudeWaypoint } from '@kmesh/lab';
import { startTestMesh, type TestMesh } from '@kmesh/lab/testing/tunnel/mesh.ts';
import { connect, readExactly, until } from '@kmesh/lab/testing/tunnel/traffic.ts';

let mesh: TestMesh;
let client: Pod;

before(async () => {
  mesh = await startTestMesh({ nodes: 1 });
  client = (await mesh.pod()).pod;
});
after(async () => {
  await mesh[Symbol.asyncDispose]();
});

describe('a server that lowers its limit of streams to 0', () => {
  test('HBN-04: while a request waits for the socket of its session: it goes over another one', async () => {
    const { pod, workload } = await mesh.pod({ captured: false, workload: { protocol: 'HBONE' } });
    const waypoint = await serveRudeWaypoint(pod, {
      identity: mesh.authority.issue(workload),
      window: 1 << 30,
      onStream: (stream) => {
        stream.respond();
        void stream.send(Buffer.from('hi'));
      },
    });
    mesh.own(waypoint);
    const first = await connect(client, pod.addresses.v4, 8080);
    await readExactly(first, 2);
    const [connection] = waypoint.connections;
    connection?.frame(8, 0, 0, number32(1 << 30));
    connection?.tls.pause();
    first.write(Buffer.alloc(64 << 20));
    // The socket takes no more once the count of bytes stands still.
    let [taken, since] = [-1, 0];
    await until(() => {
      const { fromClient = 0 } = mesh.records.connections[0] ?? {};
      if (fromClient !== taken || taken === 0) [taken, since] = [fromClient, performance.now()];
      return performance.now() - since > 500;
    });
    const second = await connect(client, pod.addresses.v4, 8080);
    await until(() => mesh.records.connections.length === 2);
    connection?.limit(0);
    await readExactly(second, 2);
    assert.equal(waypoint.connections.length, 2);
    for (const socket of [first, second]) socket.destroy();
  });
});
