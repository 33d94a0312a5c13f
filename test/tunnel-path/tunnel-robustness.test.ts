import assert from 'node:assert/strict';
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import type { Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { type FrameStream, serveRudeWaypoint } from '@kmesh/lab';
import { startTestMesh } from '@kmesh/lab/testing/tunnel/mesh.ts';
import { startProcessMesh } from '@kmesh/lab/testing/tunnel/processes.ts';
import { connect, ending, listen, readExactly, until } from '@kmesh/lab/testing/tunnel/traffic.ts';
import { raiseDescriptorLimit } from '@kmesh/linux';

raiseDescriptorLimit();

const KIB = 1024;

/** Opens `count` connections that have exchanged a byte, at most 200 at a time. */
async function openMany(count: number, open: () => Promise<Socket>): Promise<Socket[]> {
  const sockets: Socket[] = [];
  const worker = async (): Promise<void> => {
    while (sockets.length < count) {
      const socket = await open();
      sockets.push(socket);
      socket.write('x');
      await readExactly(socket, 1, 20_000);
    }
  };
  await Promise.all(Array.from({ length: 200 }, worker));
  return sockets;
}

describe('robustness of the tunnel', () => {
  test('ROB-04: 10,000 connections use at most 40 KiB each on either side, and free it', {
    timeout: 120_000,
  }, async (context) => {
    await using mesh = await startProcessMesh();
    await mesh.server.serve({ port: 8080, mode: 'echo' });
    for (const pod of [mesh.client, mesh.server]) {
      await pod.run('sysctl', ['-qw', 'net.ipv4.ip_local_port_range=10000 65000']);
    }
    const closed = () => until(() => mesh.proxies.every(({ descriptors }) => descriptors < 200), 20_000);
    const call = () => connect(mesh.client, mesh.server.addresses.v4, 8080);
    // Memory of the first load (code, heaps, buffers) is not per connection.
    for (const socket of await openMany(500, call)) socket.destroy();
    await closed();
    const before = mesh.proxies.map(({ memory }) => memory);
    const sockets = await openMany(10_000, call);
    const during = mesh.proxies.map(({ memory }) => memory);
    const each = during.map((memory, side) => (memory - (before[side] ?? 0)) / sockets.length);
    context.diagnostic(`per connection: ${each.map((bytes) => (bytes / KIB).toFixed(1)).join(' and ')} KiB`);
    for (const bytes of each) assert.ok(bytes <= 40 * KIB, `${bytes / KIB} KiB`);
    for (const socket of sockets) socket.destroy();
    await closed();
    // A second load of the same size fits in the memory of the first one.
    const again = await openMany(10_000, call);
    const second = mesh.proxies.map(({ memory }) => memory);
    for (const socket of again) socket.destroy();
    for (const side of [0, 1]) {
      const grown = ((second[side] ?? 0) - (during[side] ?? 0)) / sockets.length;
      assert.ok(grown < 8 * KIB, `side ${side} grew by ${grown / KIB} KiB per connection`);
    }
  });

  test('ROB-05, ROB-09: short calls: CPU time is reported, no handle and no memory is left', {
    timeout: 60_000,
  }, async (context) => {
    await using mesh = await startProcessMesh();
    await mesh.server.serve({ port: 8080, mode: 'http' });
    const load = (connections: number) =>
      mesh.client.dial({
        to: `${mesh.server.addresses.v4}:8080`,
        mode: 'http',
        connections,
        concurrency: 8,
        timeoutMs: 20_000,
      });
    const idle = mesh.proxies.map(({ descriptors }) => descriptors);
    await load(4_000);
    // Only the connection between the proxies remains.
    await until(() => mesh.proxies.every(({ descriptors }, side) => descriptors <= (idle[side] ?? 0) + 4));
    const [before, cpu] = [
      mesh.proxies.map(({ memory }) => memory),
      mesh.proxies.map((proxy) => proxy.processorTime),
    ];
    const handles = mesh.proxies.map(({ descriptors }) => descriptors);
    const report = await load(8_000);
    assert.equal(report.failed, 0);
    await until(() => mesh.proxies.every(({ descriptors }, side) => descriptors <= (handles[side] ?? 0) + 2));
    const used = mesh.proxies.map((proxy, side) => proxy.processorTime - (cpu[side] ?? 0));
    const share = used.map((milliseconds) => ((milliseconds / 8_000) * 1_200) / 1000);
    context.diagnostic(
      `at 72,000 new connections a minute: ${share.map((one) => one.toFixed(2)).join(' and ')} vCPU`,
    );
    for (const one of share) assert.ok(one < 1);
    for (const [side, proxy] of mesh.proxies.entries()) {
      assert.ok(proxy.memory - (before[side] ?? 0) < 24 << 20, 'memory');
    }
  });

  test('ROB-06: the lack of descriptors is an error message that says so, and it recovers', {
    timeout: 60_000,
  }, async () => {
    await using mesh = await startProcessMesh({ openFiles: 160 });
    const echo = await listen(mesh.server, 8080, (socket) => socket.pipe(socket));
    const outside = await mesh.lab.outsideHost();
    const held: Socket[] = [];
    for (let index = 0; index < 200; index++)
      held.push(await connect(outside, mesh.server.addresses.v4, 8080));
    await until(() => /file descriptor/.test(mesh.proxies[1].stderr), 10_000);
    for (const socket of held) socket.destroy();
    await until(() => mesh.proxies[1].descriptors < 100, 10_000);
    const socket = await connect(outside, mesh.server.addresses.v4, 8080);
    socket.write('x');
    await readExactly(socket, 1);
    socket.destroy();
    echo.close();
  });

  test('ROB-07: 24 million bytes to a receiver that does not read do not grow memory', {
    timeout: 60_000,
  }, async (context) => {
    await using mesh = await startProcessMesh();
    const stalled: Socket[] = [];
    const silent = await listen(mesh.server, 8080, () => undefined);
    silent.server.removeAllListeners('connection');
    silent.server.on('connection', (socket: Socket) => {
      socket.pause();
      stalled.push(socket);
    });
    const echo = await listen(mesh.server, 8081, (socket) => socket.pipe(socket));
    const warm = await connect(mesh.client, mesh.server.addresses.v4, 8080);
    const beside = await connect(mesh.client, mesh.server.addresses.v4, 8081);
    /** Meanwhile a thousand exchanges by the same proxies over the same session. */
    const others = async (): Promise<void> => {
      for (let exchange = 0; exchange < 1_000; exchange++) {
        beside.write('x');
        await readExactly(beside, 1);
      }
    };
    await others();
    await until(() => stalled.length === 1);
    const before = mesh.proxies.map(({ memory }) => memory);
    const socket = await connect(mesh.client, mesh.server.addresses.v4, 8080);
    for (let sent = 0; sent < 24; sent++) socket.write(Buffer.alloc(1_000_000));
    // The sender is stopped if its queue is unchanged after these exchanges.
    let queued: number;
    do {
      queued = socket.writableLength;
      await others();
    } while (socket.writableLength !== queued);
    assert.ok(queued > 0, 'the receiver accepts all bytes');
    const early = mesh.proxies.map(({ memory }) => memory);
    await others();
    const late = mesh.proxies.map(({ memory }) => memory);
    const grown = late.map((memory, side) => memory - (before[side] ?? 0));
    context.diagnostic(`held back: ${grown.map((bytes) => `${Math.round(bytes / KIB)} KiB`).join(' and ')}`);
    // The receiving side may hold one stream window (4 MiB) plus scratch buffers; the sending side holds no bytes.
    assert.ok((grown[0] ?? 0) < 4 << 20);
    assert.ok((grown[1] ?? 0) < 10 << 20);
    for (const side of [0, 1]) assert.ok((late[side] ?? 0) - (early[side] ?? 0) < 1 << 20, 'still growing');
    for (const one of [socket, warm, beside, ...stalled]) one.destroy();
    silent.close();
    echo.close();
  });

  test('a server that changes its SETTINGS endlessly is disconnected', async () => {
    await using mesh = await startTestMesh({ nodes: 1 });
    const client = await mesh.pod();
    const hostile = await mesh.pod({ captured: false, workload: { protocol: 'HBONE' } });
    let changes = 0;
    // As many at a time as the other end acknowledges in order.
    const flood = async ({ connection }: FrameStream): Promise<void> => {
      while (!connection.closed && changes < 30_000) {
        for (let burst = 0; burst < 500; burst++) connection.limit(100 + (changes++ % 2));
        await until(() => connection.closed || connection.acknowledged > changes - 10);
      }
    };
    let flooded: Promise<void> | undefined;
    const waypoint = await serveRudeWaypoint(hostile.pod, {
      identity: mesh.authority.issue(hostile.workload),
      onStream: (stream) => {
        stream.respond();
        flooded = flood(stream);
      },
    });
    mesh.own(waypoint);
    const socket = await connect(client.pod, hostile.pod.addresses.v4, 8080);
    assert.equal(await ending(socket, 20_000), 'reset');
    await flooded;
    assert.ok(changes < 15_000, `${changes} changes`);
    assert.equal(waypoint.connections[0]?.goaways, 1);
  });

  test('a peer that updates its TLS keys endlessly is disconnected, and others do not wait for it', {
    timeout: 60_000,
  }, async (context) => {
    await using mesh = await startTestMesh({ nodes: 1 });
    const server = await mesh.pod();
    const echo = mesh.own(await listen(server.pod, 8080, (socket) => socket.pipe(socket)));
    const other = await mesh.pod();
    const attacker = await mesh.pod({ captured: false });
    const { certificateChainPem, privateKeyPem } = mesh.authority.issue(attacker.workload);
    const directory = mkdtempSync(join(tmpdir(), 'kmesh-keys-'));
    writeFileSync(join(directory, 'cert.pem'), certificateChainPem);
    writeFileSync(join(directory, 'key.pem'), privateKeyPem);
    // For s_client each input that begins with K is one key update that requests another.
    const flood =
      `yes K | openssl s_client -connect ${server.pod.addresses.v4}:15008 -alpn h2 -tls1_3 ` +
      `-cert ${directory}/cert.pem -key ${directory}/key.pem`;
    const flooding = attacker.pod.spawn('bash', ['-c', flood]);
    const ended = once(flooding, 'exit');
    let longest = 0;
    let over = false;
    void ended.then(() => {
      over = true;
    });
    const limit = performance.now() + 20_000;
    while (!over && performance.now() < limit) {
      const began = performance.now();
      const socket = await connect(other.pod, server.pod.addresses.v4, 8080);
      socket.write('x');
      await readExactly(socket, 1);
      socket.destroy();
      longest = Math.max(longest, performance.now() - began);
    }
    assert.ok(over, 'the connection was not closed');
    context.diagnostic(`longest connection beside it: ${longest.toFixed(1)} ms`);
    rmSync(directory, { recursive: true });
    echo.close();
  });
});
