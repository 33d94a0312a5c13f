import assert from 'node:assert/strict';
import { once } from 'node:events';
import type { Socket } from 'node:net';
import { test } from 'node:test';
import { eventually } from '@kmesh/api/testing';
import { startProbeWorld } from '@kmesh/lab/testing/probe/world.ts';
import { tcpSocketsOf, untilAcknowledged } from '@kmesh/lab/testing/traffic/tcp-sockets.ts';
import { raiseDescriptorLimit, tcpState } from '@kmesh/linux';
import { kmeshEventLayout, LiveFlowReports } from '@kmesh/runtime';

type World = Awaited<ReturnType<typeof startProbeWorld>>;

const families = ['v4', 'v6'] as const;
const hostOf = (world: World, family: (typeof families)[number]) =>
  world.service.vips[families.indexOf(family)]?.ip ?? '';

function echo(socket: Socket): void {
  socket.on('error', () => undefined);
  socket.on('data', (data) => socket.write(data));
  socket.on('end', () => socket.end());
}

/** Sends a number of bytes and waits until they are echoed. */
async function exchange(socket: Socket, bytes: number): Promise<void> {
  let count = 0;
  const back = new Promise<void>((resolve) => {
    const take = (data: Buffer) => {
      count += data.length;
      if (count < bytes) return;
      socket.off('data', take);
      resolve();
    };
    socket.on('data', take);
  });
  socket.write(Buffer.alloc(bytes, 'x'));
  await back;
}

for (const family of families) {
  test(`OBS-09: the bytes of an open connection are counted before it closes, and once (IP${family})`, async () => {
    await using world = await startProbeWorld();
    await world.server.listen({ port: 8080 }, echo);
    const socket = await world.client.connect({ host: hostOf(world, family), port: 80 });
    let total = 0;
    for (const bytes of [1, 100_000, 7]) {
      await exchange(socket, bytes);
      total += bytes;
      await untilAcknowledged([world.client, world.server], 8080, total);
      await world.reports.take();
      const metric = await world.metrics();
      for (const reporter of ['source', 'destination']) {
        const counts = ['received', 'sent'].map((way) =>
          metric(`istio_tcp_${way}_bytes_total`, `reporter="${reporter}"`),
        );
        assert.deepEqual(counts, [total, total], `${reporter} after ${bytes}`);
        assert.equal(metric('istio_tcp_connections_closed_total', `reporter="${reporter}"`), 0);
      }
    }
    socket.end();
    await once(socket, 'close');
    await eventually('two lines', () => world.lines.length === 2);
    const metric = await world.metrics();
    assert.equal(metric('istio_tcp_sent_bytes_total', 'reporter="source"'), total);
    assert.deepEqual([world.kernel.reconciled, world.kernel.open], [0, 0]);
  });

  test(`a FIN is not counted as a byte of a half-closed connection, from either side (IP${family})`, async () => {
    for (const first of ['client', 'server'] as const) {
      await using world = await startProbeWorld();
      const accepted: Socket[] = [];
      await world.server.listen({ port: 8080 }, (socket) => accepted.push(socket) && echo(socket));
      const socket = await world.client.connect({
        host: hostOf(world, family),
        port: 80,
      });
      await exchange(socket, 77);
      const [server] = accepted;
      assert.ok(server);
      server.removeAllListeners('end');
      const [half, other] = first === 'client' ? [socket, server] : [server, socket];
      const ended = once(other, 'end');
      half.end();
      await ended;
      const sides = [
        [first === 'client' ? world.client : world.server, tcpState.finWait2],
        [first === 'client' ? world.server : world.client, tcpState.closeWait],
      ] as const;
      for (const [host, state] of sides) {
        await eventually('half closed', async () =>
          (await tcpSocketsOf(host)).some((listed) => listed.state === state),
        );
      }
      await world.reports.take();
      const metric = await world.metrics();
      for (const reporter of ['source', 'destination']) {
        const counts = ['received', 'sent'].map((way) =>
          metric(`istio_tcp_${way}_bytes_total`, `reporter="${reporter}"`),
        );
        assert.deepEqual(counts, [77, 77], `${reporter}, ${first} first`);
      }
      assert.equal(world.kernel.open, 2);
      other.end();
      await once(socket, 'close');
    }
  });

  test(`the bytes of many small messages are counted while a connection lasts and when it has closed (IP${family})`, async () => {
    await using world = await startProbeWorld();
    await world.server.listen({ port: 8080 }, echo);
    const socket = await world.client.connect({ host: hostOf(world, family), port: 80 });
    const rounds = 200;
    for (let round = 0; round < rounds; round++) await exchange(socket, 100 + round);
    const total = (rounds * (100 + 100 + rounds - 1)) / 2;
    await untilAcknowledged([world.client, world.server], 8080, total);
    const bytes = async () => {
      const metric = await world.metrics();
      return ['source', 'destination'].flatMap((reporter) =>
        ['received', 'sent'].map((way) => metric(`istio_tcp_${way}_bytes_total`, `reporter="${reporter}"`)),
      );
    };
    await world.reports.take();
    assert.deepEqual(await bytes(), [total, total, total, total]);
    socket.end();
    await once(socket, 'close');
    await eventually('two lines', () => world.lines.length === 2);
    assert.deepEqual(await bytes(), [total, total, total, total]);
    for (const line of world.log()) assert.deepEqual([line.bytes_sent, line.bytes_recv], [total, total]);
  });
}

test('BPF-08: open connections are counted once each, also if the ring has no room for their close events; losses are exact', async () => {
  raiseDescriptorLimit(40_000);
  // More flows than one slice of a report holds, and a ring for about twenty events.
  const connections = 4_200;
  await using world = await startProbeWorld({ capacities: { events: 4096 } });
  await world.server.listen({ port: 8080 }, echo);
  const host = families.map((family) => hostOf(world, family));
  world.pauseReading();
  const sockets: Socket[] = [];
  let total = 0;
  const open = async () => {
    while (sockets.length < connections) {
      const index = sockets.length;
      sockets.length++;
      const socket = await world.client.connect({ host: host[index % 2] ?? '', port: 80 });
      sockets[index] = socket;
      const bytes = 1 + ((index * 7919) % 3000);
      total += bytes;
      await exchange(socket, bytes);
    }
  };
  await Promise.all(Array.from({ length: 64 }, open));
  world.resumeReading();
  await world.settled();
  assert.equal(world.kernel.open, 0, 'no opening is reported by itself');
  assert.equal(world.ring.counters.losses, 0);
  const { reports } = world;
  await reports.take();
  assert.equal(world.kernel.open, connections * 2);
  const expectOpened = async () => {
    const metric = await world.metrics();
    for (const reporter of ['source', 'destination']) {
      assert.equal(metric('istio_tcp_connections_opened_total', `reporter="${reporter}"`), connections);
      assert.equal(metric('istio_tcp_received_bytes_total', `reporter="${reporter}"`), total);
      assert.equal(metric('istio_tcp_sent_bytes_total', `reporter="${reporter}"`), total);
    }
    return metric;
  };
  await expectOpened();

  world.pauseReading();
  const closed = sockets.map((socket) => once(socket, 'close'));
  for (const socket of sockets) socket.end();
  await Promise.all(closed);
  for (const pod of [world.client, world.server]) {
    await eventually('both ends are closed', async () =>
      (await tcpSocketsOf(pod)).every(({ state }) => state === tcpState.listening),
    );
  }
  world.resumeReading();
  await world.settled();
  await reports.take();
  assert.ok(world.kernel.open > connections, 'one report may be ahead of the ring');
  await reports.take();
  assert.equal(world.kernel.open, 0);
  const metric = await expectOpened();
  for (const reporter of ['source', 'destination']) {
    assert.equal(metric('istio_tcp_connections_closed_total', `reporter="${reporter}"`), connections);
  }
  assert.equal(world.lines.length, connections * 2);
  const losses = world.ring.counters.losses;
  assert.equal(world.kernel.reconciled, losses);
  assert.equal(metric('kmesh_connections_path_total', 'path="kernel"'), connections);
});

test('a FIN that arrives while a connection is read is not counted as a byte', async () => {
  await using world = await startProbeWorld();
  await world.server.listen({ port: 8080 }, echo);
  const [bytes, connections] = [100, 3_000];
  let most = 0;
  let seen = 0;
  using reports = new LiveFlowReports({
    object: world.mesh.object,
    connections: {
      beginLiveReport: () => undefined,
      liveFlows: (records, count) => {
        const view = new DataView(records.buffer, records.byteOffset, records.byteLength);
        for (let at = 0; at < count * kmeshEventLayout.size; at += kmeshEventLayout.size) {
          for (const field of [kmeshEventLayout.bytesSent, kmeshEventLayout.bytesReceived])
            most = Math.max(most, Number(view.getBigUint64(at + field, true)));
        }
        seen += count;
      },
      endLiveReport: () => new Set(),
      continueFrom: () => undefined,
      close: () => undefined,
    },
    intervalMilliseconds: 2 ** 30,
    onError: (error) => {
      throw error;
    },
  });
  let next = 0;
  const converse = async () => {
    while (next < connections) {
      const host = hostOf(world, families[next++ % 2] ?? 'v4');
      const socket = await world.client.connect({ host, port: 80 });
      await exchange(socket, bytes);
      await closeAll([socket.resume()]);
    }
  };
  const conversing = Promise.all(Array.from({ length: 16 }, converse));
  let over = false;
  const reading = (async () => {
    while (!over) await reports.take();
  })();
  await conversing.finally(() => {
    over = true;
  });
  await reading;
  assert.equal(most, bytes);
  assert.ok(seen > connections, `${seen} records`);
});

/** Opens connections one after another, each with a number of bytes in both directions. */
async function openAll(world: World, count: number, bytes: number): Promise<Socket[]> {
  const sockets: Socket[] = [];
  while (sockets.length < count) {
    const host = hostOf(world, families[sockets.length % 2] ?? 'v4');
    const socket = await world.client.connect({ host, port: 80 });
    sockets.push(socket);
    await exchange(socket, bytes);
  }
  return sockets;
}

async function closeAll(sockets: readonly Socket[]): Promise<void> {
  const closed = sockets.map((socket) => once(socket, 'close'));
  for (const socket of sockets) socket.end();
  await Promise.all(closed);
}

test('connections beyond the table are counted when they close, and entries of ended ones are reused', async () => {
  // Two blocks of 16 places, and both ends of a connection take one.
  await using world = await startProbeWorld({ capacities: { live: 2 } });
  await world.server.listen({ port: 8080 }, echo);
  let total = 0;
  const expectCounted = async () => {
    const metric = await world.metrics();
    for (const reporter of ['source', 'destination'])
      assert.equal(metric('istio_tcp_received_bytes_total', `reporter="${reporter}"`), total);
  };
  for (let round = 0; round < 3; round++) {
    const sockets = await openAll(world, 30, 100);
    await world.reports.take();
    await world.reports.take();
    assert.equal(world.kernel.open, 32);
    await closeAll(sockets);
    total += sockets.length * 100;
    await eventually('all are logged', () => world.lines.length === round * 80 + 60);
    await expectCounted();
    const few = await openAll(world, 10, 7);
    await world.reports.take();
    await world.reports.take();
    assert.equal(world.kernel.open, 20);
    await closeAll(few);
    total += few.length * 7;
    await eventually('these are logged, too', () => world.lines.length === (round + 1) * 80);
    await expectCounted();
  }
  assert.equal(world.kernel.reconciled, 0);
});

test('the end of connections while no program is attached is detected, and their entries are reused', async () => {
  await using world = await startProbeWorld();
  await world.server.listen({ port: 8080 }, echo);
  const places = () => {
    const value = world.mesh.object.map('live_places').get(new Uint8Array(4)) as Uint8Array;
    const view = new DataView(value.buffer);
    return { firstFree: view.getUint32(0, true), used: view.getUint32(8, true) };
  };
  const sockets = await openAll(world, 20, 50);
  await world.reports.take();
  await world.reports.take();
  assert.equal(world.kernel.open, 40);
  assert.deepEqual(places(), { firstFree: 0, used: 40 });
  world.mesh.links.get('kmesh_sockops')?.detach();
  await closeAll(sockets);
  for (const pod of [world.client, world.server]) {
    await eventually('both ends are closed', async () =>
      (await tcpSocketsOf(pod)).every(({ state }) => state === tcpState.listening),
    );
  }
  await world.reports.take();
  await world.reports.take();
  assert.deepEqual([world.kernel.open, world.kernel.reconciled], [0, 40]);
  using _again = world.mesh.object.program('kmesh_sockops').attachCgroup(world.lab.cgroup);
  const others = await openAll(world, 20, 50);
  await world.reports.take();
  await world.reports.take();
  assert.equal(world.kernel.open, 40);
  assert.deepEqual(places(), { firstFree: 0, used: 40 });
  await closeAll(others);
});
