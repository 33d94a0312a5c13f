import assert from 'node:assert/strict';
import { once } from 'node:events';
import { test } from 'node:test';
import { eventually } from '@kmesh/api/testing';
import { workloadOf } from '@kmesh/lab';
import { type AccessLogLine, startProbeWorld } from '@kmesh/lab/testing/probe/world.ts';
import { tcpSocketsOf } from '@kmesh/lab/testing/traffic/tcp-sockets.ts';

type World = Awaited<ReturnType<typeof startProbeWorld>>;

const families = ['v4', 'v6'] as const;

function vip(world: World, family: (typeof families)[number]): string {
  return world.service.vips[families.indexOf(family)]?.ip ?? '';
}

/** Returns the log lines once there are `count`. */
async function logOf(world: World, count: number): Promise<AccessLogLine[]> {
  await eventually(`${count} lines`, () => world.lines.length >= count);
  await world.settled();
  const lines = world.log();
  assert.equal(lines.length, count, world.lines.join(''));
  return lines;
}

/** A process in the client pod that sends a number of bytes and then holds the connection without reading. */
async function holder(world: World, host: string, bytes: number) {
  const script = `exec 3<>/dev/tcp/${host}/80; printf '%0${bytes}d' 0 >&3; echo sent; exec sleep 1000`;
  const child = world.client.spawn('bash', ['-c', script]);
  assert.ok(child.stdout);
  await once(child.stdout, 'data');
  return child;
}

for (const family of families) {
  test(`the connection of a killed process is one line per side with all its bytes (IP${family})`, async () => {
    await using world = await startProbeWorld();
    const read = Promise.withResolvers<void>();
    await world.server.listen({ port: 8080 }, (socket) => {
      let count = 0;
      socket.on('data', (data) => {
        count += data.length;
        if (count === 777) read.resolve();
      });
      socket.on('end', () => socket.end());
    });
    const child = await holder(world, vip(world, family), 777);
    await read.promise;
    child.kill('SIGKILL');
    const lines = await logOf(world, 2);
    assert.deepEqual(
      lines
        .map(({ direction, bytes_sent, bytes_recv, error }) => [direction, bytes_sent, bytes_recv, error])
        .sort(),
      [
        ['inbound', 0, 777, undefined],
        ['outbound', 777, 0, undefined],
      ],
    );
  });
}

test('a killed process that left data unread resets the connection, which is a normal end with all its bytes', async () => {
  await using world = await startProbeWorld();
  const answered = Promise.withResolvers<void>();
  await world.server.listen({ port: 8080 }, (socket) => {
    socket.on('error', () => undefined);
    socket.once('data', () => socket.write('x'.repeat(500), () => answered.resolve()));
  });
  const child = await holder(world, vip(world, 'v4'), 100);
  await answered.promise;
  await eventually('the answer is there, unread', async () =>
    (await tcpSocketsOf(world.client)).some(({ receiveQueue }) => receiveQueue === 500),
  );
  child.kill('SIGKILL');
  const lines = await logOf(world, 2);
  assert.deepEqual(
    lines.map(({ direction, level, bytes_sent, error }) => [direction, level, bytes_sent, error]).sort(),
    [
      ['inbound', 'info', 500, undefined],
      ['outbound', 'info', 100, undefined],
    ],
  );
  const metric = await world.metrics();
  assert.equal(metric('istio_tcp_connections_failed_total'), 0);
  assert.equal(metric('istio_tcp_connections_closed_total', 'response_flags="-"'), 2);
});

test('a server that does not answer is a failure with a reason', async () => {
  await using world = await startProbeWorld();
  await world.client.run('sysctl', ['-qw', 'net.ipv4.tcp_syn_retries=1']);
  const drop =
    'add table inet t; add chain inet t c { type filter hook input priority 0; }; add rule inet t c tcp dport 8080 drop';
  await world.server.run('nft', [drop]);
  await assert.rejects(world.client.connect({ host: vip(world, 'v4'), port: 80, timeoutMs: 20_000 }));
  const [silent] = await logOf(world, 1);
  assert.match(silent?.error ?? '', /^connection timed out: no answer/);
  assert.equal(silent?.level, 'error');
  const metric = await world.metrics();
  assert.equal(metric('istio_tcp_connections_failed_total', 'response_flags="CONNECT"'), 1);
  assert.equal(metric('istio_tcp_connections_opened_total', 'response_flags="-"'), 1);
});

test('a change of the workload does not alter the line and series of its open connection', async () => {
  await using world = await startProbeWorld();
  await world.server.listen({ port: 8080 }, (socket) => {
    socket.on('data', (data) => socket.write(data));
    socket.on('end', () => socket.end());
  });
  const socket = await world.client.connect({ host: vip(world, 'v4'), port: 80 });
  socket.write('before');
  await once(socket, 'data');
  const renamed = workloadOf(world.client, { workloadName: 'renamed', canonicalName: 'renamed' });
  await world.mesh.apply(renamed);
  socket.end('after');
  socket.resume();
  await once(socket, 'close');
  await logOf(world, 2);
  const metric = await world.metrics();
  assert.equal(metric('istio_tcp_received_bytes_total', 'source_workload="client"'), 22);
  assert.equal(metric('istio_tcp_received_bytes_total', 'source_workload="renamed"'), 0);
});
