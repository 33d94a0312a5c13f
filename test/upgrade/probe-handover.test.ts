import assert from 'node:assert/strict';
import type { Socket } from 'node:net';
import { after, before, test } from 'node:test';
import { createLab, keyOf, type Lab, type LabMesh, type Pod, serviceOf, startMesh, sumOf } from '@kmesh/lab';
import { exchange, open } from '@kmesh/lab/testing/traffic/echo.ts';

let lab: Lab;
let mesh: LabMesh;
let client: Pod;
let hosts: readonly string[];

/** Bytes of one exchange in both directions. */
const [requestBytes, replyBytes] = [11, 22];

before(async () => {
  lab = await createLab();
  await lab.node();
  const pins = `${await lab.bpffs()}/kmesh`;
  mesh = await startMesh(lab, { kernelPath: true, environment: { KMESH_PINS: pins } });
  ({ pod: client } = await mesh.pod({ name: 'client' }));
  const { addresses } = await lab.outsideHost('vip-server');
  const service = serviceOf({ name: 'server', vips: addresses, ports: { 80: 8080 } });
  await mesh.apply(service);
  const { pod: server } = await mesh.pod({
    name: 'server',
    workload: { services: { [keyOf(service)]: {} } },
  });
  await server.serve({ port: 8080, mode: 'double' });
  hosts = [addresses.v4, addresses.v6];
  await onKernelPath();
});
after(async () => {
  await mesh?.close();
  await lab?.close();
});

async function onKernelPath(): Promise<void> {
  const { proxy } = mesh.node();
  await proxy.until('connections take the kernel path', async () => {
    const watch = await proxy.watch();
    const socket = await open(client, hosts[0] ?? '', 80);
    await exchange(socket);
    const before = watch.lines.length;
    socket.end();
    socket.resume();
    await proxy.until('it is logged', () => watch.lines.length > before);
    return watch.lines.some(({ fields }) => fields['path'] === 'kernel');
  });
}

async function counts(reporter: string): Promise<{ opened: number; closed: number; bytes: number[] }> {
  const samples = await mesh.node().proxy.metrics();
  const sum = (name: string) => sumOf(samples, `istio_tcp_${name}_total`, { reporter });
  return {
    opened: sum('connections_opened'),
    closed: sum('connections_closed'),
    bytes: [sum('received_bytes'), sum('sent_bytes')],
  };
}

const reporters = ['source', 'destination'];

async function exchangeAll(sockets: readonly Socket[], times: number): Promise<void> {
  for (let count = 0; count < times; count++) for (const socket of sockets) await exchange(socket);
}

for (const how of ['SIGTERM', 'SIGKILL'] as const) {
  test(`connections that outlive a daemon (${how}) are counted and logged once, with all their bytes, by the next one`, async () => {
    const { proxy } = mesh.node();
    const watch = await proxy.watch();
    await proxy.until('both sides of earlier connections are counted', async () => {
      const [source, destination] = await Promise.all(reporters.map(counts));
      return source !== undefined && source.closed > 0 && destination?.closed === source.closed;
    });
    const before = await Promise.all(reporters.map(counts));
    const sockets = await Promise.all(hosts.map((host) => open(client, host, 80)));
    await exchangeAll(sockets, 3);
    const counted = sockets.length * 3;
    await proxy.until(
      'the bytes are counted',
      async () => {
        const now = await Promise.all(reporters.map(counts));
        return now.every(
          ({ bytes }, side) => (bytes[0] ?? 0) - (before[side]?.bytes[0] ?? 0) === counted * requestBytes,
        );
      },
      5_000,
    );
    await proxy.stop(how);
    assert.deepEqual(watch.lines, [], 'they continue, so no line reports their end');
    await exchangeAll(sockets, 2);
    proxy.start();
    await proxy.ready();
    await exchangeAll(sockets, 1);
    const rest = sockets.length * 3;
    await proxy.until(
      'the next daemon counts later bytes',
      async () => {
        const now = await Promise.all(reporters.map(counts));
        return now.every(({ bytes }) => bytes[0] === sockets.length * 3 * requestBytes);
      },
      5_000,
    );
    for (const { opened, closed, bytes } of await Promise.all(reporters.map(counts))) {
      assert.deepEqual([opened, closed, bytes], [0, 0, [rest * requestBytes, rest * replyBytes]]);
    }
    await exchangeAll(sockets, 1);
    for (const socket of sockets) socket.resume().end();
    await proxy.until('they are logged', () => watch.lines.length >= 2 * sockets.length);
    // Each closed connection is one line; this line follows all of them.
    for (const { opened, closed, bytes } of await Promise.all(reporters.map(counts))) {
      const following = rest + sockets.length;
      assert.deepEqual(
        [opened, closed, bytes],
        [0, sockets.length, [following * requestBytes, following * replyBytes]],
      );
    }
    const all = 7;
    const line = (direction: string, [sent, received]: readonly number[]) => [
      direction,
      'client',
      'server',
      'server.default.svc.cluster.local',
      `${all * (sent ?? 0)}`,
      `${all * (received ?? 0)}`,
    ];
    assert.deepEqual(
      watch.lines
        .map(({ fields }) => [
          fields['direction'],
          fields['src.workload'],
          fields['dst.workload'],
          fields['dst.service'],
          fields['bytes_sent'],
          fields['bytes_recv'],
        ])
        .sort(),
      [
        ...hosts.map(() => line('inbound', [replyBytes, requestBytes])),
        ...hosts.map(() => line('outbound', [requestBytes, replyBytes])),
      ],
    );
  });
}
