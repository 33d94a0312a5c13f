/**
 * Tests that are too long for every run: 5 GiB on one connection, which is then idle for a minute, on each path and
 * family. `npm run test:long -- large-and-idle`
 */
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { createLab, keyOf, type Lab, type LabMesh, type Pod, serviceOf, startMesh } from '@kmesh/lab';

const bytes = 5 * 2 ** 30;
const idleSeconds = 60;

let lab: Lab;
let mesh: LabMesh;
let client: Pod;
const hosts = new Map<string, { v4: string; v6: string }>();

before(async () => {
  lab = await createLab();
  await lab.node();
  await lab.node();
  mesh = await startMesh(lab, { kernelPath: true });
  ({ pod: client } = await mesh.pod({ name: 'client' }));
  for (const [name, node] of [
    ['near', 0],
    ['far', 1],
  ] as const) {
    const { addresses } = await lab.outsideHost(`vip-${name}`);
    const service = serviceOf({ name, vips: addresses, ports: { 80: 8080 } });
    await mesh.apply(service);
    const { pod } = await mesh.pod({ name, workload: { services: { [keyOf(service)]: {} } } }, node);
    await pod.listen({ port: 8080 }, (socket) => {
      socket.on('error', () => undefined);
      socket.on('end', () => socket.end());
      socket.resume();
    });
    hosts.set(name, addresses);
  }
});
after(async () => {
  await mesh?.close();
  await lab?.close();
});

for (const [name, node, path] of [
  ['near', 0, 'kernel'],
  ['far', 1, 'tunnel'],
] as const) {
  test(`BPF-11: of 5 GiB with an idle minute on the ${path} path, IPv4 and IPv6, metrics and log of each side count every byte once`, async () => {
    const source = mesh.node(0).proxy;
    const destination = mesh.node(node).proxy;
    const [from, to] = [await source.watch(), await destination.watch()];
    const { v4 = '', v6 = '' } = hosts.get(name) ?? {};
    await Promise.all(
      [v4, v6].map((host) =>
        client.run(
          'bash',
          [
            '-c',
            `exec 3<>/dev/tcp/${host}/80; head -c ${bytes} /dev/zero >&3; sleep ${idleSeconds}; exec 3>&-`,
          ],
          { timeoutMs: 300_000 },
        ),
      ),
    );
    for (const [watch, direction, field] of [
      [from, 'outbound', 'bytes_sent'],
      [to, 'inbound', 'bytes_recv'],
    ] as const) {
      const lines = await watch.access(direction, 2, { 'dst.workload': name });
      assert.deepEqual(
        lines.map((line) => [line.level, line.fields['path'], line.fields[field]]),
        Array(2).fill(['info', path, `${bytes}`]),
      );
    }
    const labels = { destination_workload: name };
    const counted = { opened: 2, closed: 2, received: 2 * bytes, sent: 0, failed: 0 };
    assert.deepEqual(await from.traffic('source', 2, labels), counted);
    assert.deepEqual(await to.traffic('destination', 2, labels), counted);
  });
}
