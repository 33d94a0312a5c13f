import assert from 'node:assert/strict';
import { test } from 'node:test';
import { eventually } from '@kmesh/api/testing';
import { serviceOf } from '@kmesh/lab';
import { startProbeWorld } from '@kmesh/lab/testing/probe/world.ts';
import { kmeshEventLayout, readConnectCounters, readPerCpuCounters } from '@kmesh/runtime';

type World = Awaited<ReturnType<typeof startProbeWorld>>;

/** A service with two ports without endpoints, beside that of the scene. */
async function withEmptyService(world: World): Promise<readonly [v4: string, v6: string]> {
  const { addresses } = await world.lab.outsideHost('vip-empty');
  await world.mesh.apply(serviceOf({ name: 'empty', vips: addresses, ports: { 80: 8080 } }));
  return [addresses.v4, addresses.v6];
}

interface Refusal {
  readonly level: string;
  readonly message: string;
  readonly direction: string;
  readonly error: string;
  readonly 'src.addr': string;
  readonly 'dst.addr': string;
}

/** Returns the lines of refusals once there are `count`. */
async function refusals(world: World, count: number): Promise<Refusal[]> {
  await eventually(`${count} lines`, () => world.lines.length >= count);
  await world.settled();
  return world.lines.map((line) => JSON.parse(line) as Refusal);
}

const refusedSoFar = (world: World) => {
  const { refusedEmpty, refusedFrontend } = readConnectCounters(world.mesh.object.map('counters'));
  return Number(refusedEmpty + refusedFrontend);
};
const unlogged = (world: World) =>
  Number(readPerCpuCounters(world.mesh.object.map('refusals_lost'), { lost: 0 }).lost);

test('every connect that the hook refuses is one line with its reason, and no traffic metric, on IPv4 and IPv6', async () => {
  await using world = await startProbeWorld();
  const hosts = await withEmptyService(world);
  const attempts = 200;
  for (let index = 0; index < attempts; index++) {
    const host = hosts[index % 2] ?? '';
    // Every other pair dials an undeclared port.
    const port = index % 4 < 2 ? 80 : 4321;
    await assert.rejects(world.client.connect({ host, port }), { code: 'ECONNREFUSED' });
  }
  assert.equal(refusedSoFar(world), attempts);
  const lines = await refusals(world, attempts);
  assert.equal(lines.length, attempts);
  const { v4, v6 } = world.client.addresses;
  const expected = [
    [`${v4}:0`, `${hosts[0]}:80`, 'Service default/empty.default.svc.cluster.local has no usable endpoint.'],
    [
      `[${v6}]:0`,
      `[${hosts[1]}]:80`,
      'Service default/empty.default.svc.cluster.local has no usable endpoint.',
    ],
    [`${v4}:0`, `${hosts[0]}:4321`, 'Service default/empty.default.svc.cluster.local has no port 4321.'],
    [`[${v6}]:0`, `[${hosts[1]}]:4321`, 'Service default/empty.default.svc.cluster.local has no port 4321.'],
  ];
  lines.forEach((line, index) => {
    assert.deepEqual(
      [line.level, line.message, line.direction, line['src.addr'], line['dst.addr'], line.error],
      ['warn', 'connection failed', 'outbound', ...(expected[index % 4] ?? [])],
    );
  });
  const metric = await world.metrics();
  for (const name of ['opened', 'closed', 'failed']) {
    assert.equal(metric(`istio_tcp_connections_${name}_total`), 0, name);
  }
  assert.equal(unlogged(world), 0);
});

test('a pod that dials refused destinations in a loop neither floods the log nor displaces events of connections', async () => {
  await using world = await startProbeWorld();
  const [host] = await withEmptyService(world);
  await world.server.listen({ port: 8080 }, (socket) => socket.on('error', () => undefined).end('x'));
  const script = `for n in $(seq 20000); do exec 3<>/dev/tcp/${host}/80; done 2>/dev/null; true`;
  const flood = world.client.run('bash', ['-c', script]);
  const vip = world.service.vips[0]?.ip ?? '';
  const served = 50;
  for (let index = 0; index < served; index++) {
    const socket = await world.client.connect({ host: vip, port: 80 });
    const closed = new Promise((resolve) => socket.once('close', resolve));
    socket.resume().end();
    await closed;
  }
  await flood;
  const all = refusedSoFar(world);
  await eventually('each has a line or is counted', () => {
    return world.lines.length + unlogged(world) >= all + 2 * served;
  });
  const lines = world.lines.map((line) => JSON.parse(line) as Refusal);
  const failed = lines.filter(({ message }) => message === 'connection failed').length;
  assert.equal(all, 20_000);
  assert.equal(failed + unlogged(world), all, 'each one is a line or counted as none');
  assert.ok(failed < all, `${failed} lines`);
  assert.equal(lines.length - failed, 2 * served, 'and connections have their own limit');
  assert.equal(world.ring.counters.losses, 0);
});

test('refusals are counted but not written to a ring that is a quarter full', async () => {
  await using world = await startProbeWorld();
  const [host] = await withEmptyService(world);
  const refuse = () => assert.rejects(world.client.connect({ host, port: 80 }), { code: 'ECONNREFUSED' });
  await world.server.serve({ port: 8080, mode: 'http' });
  world.pauseReading();
  await refuse();
  assert.equal(unlogged(world), 0, 'there is room');
  // Each has a record of each end, plus some for those whose server's end is pending.
  const quarter = world.mesh.object.map('events').maxEntries / 4;
  const connections = Math.ceil(quarter / kmeshEventLayout.size / 2) + 100;
  const vip = world.service.vips[0]?.ip ?? '';
  const report = await world.client.dial({ to: `${vip}:80`, mode: 'http', connections, concurrency: 16 });
  assert.equal(report.failed, 0);
  await refuse();
  assert.equal(unlogged(world), 1);
  world.resumeReading();
  await eventually('the waiting lines are logged', () => world.lines.length === connections * 2 + 1);
  await refuse();
  await eventually('the next refusal is logged', () => world.lines.length === connections * 2 + 2);
  assert.deepEqual([unlogged(world), world.ring.counters.losses], [1, 0]);
});
