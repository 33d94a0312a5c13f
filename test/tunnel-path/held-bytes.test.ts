import assert from 'node:assert/strict';
import { once } from 'node:events';
import type { Socket } from 'node:net';
import { test } from 'node:test';
import { openRudeClient } from '@kmesh/lab';
import { startProcessMesh } from '@kmesh/lab/testing/tunnel/processes.ts';
import { connect, listen, readExactly, until } from '@kmesh/lab/testing/tunnel/traffic.ts';

const MIB = 1 << 20;
/** Of `HeldBytes` in the engine. */
const LIMIT = 256 * MIB;
/** A message of this size fits into the stream's window, so that the stream ends while its bytes wait. */
const STREAM_WINDOW = 4 * MIB;
/** Scratch buffers, free blocks, and what one read of each session may add. */
const SLACK = 48 * MIB;

test('ROB-07: what receivers do not read has a limit, also when their streams have ended', {
  timeout: 120_000,
}, async (context) => {
  await using mesh = await startProcessMesh();
  // They end at once and never read: the streams end in both directions while bytes wait.
  const deaf: Socket[] = [];
  const server = await listen(mesh.server, 8080, (socket) => deaf.push(socket.pause().end()));
  const echo = await listen(mesh.server, 8081, (socket) => socket.pipe(socket));
  const outside = await mesh.lab.outsideHost();
  const { v4 } = mesh.server.addresses;
  const beside = await connect(outside, v4, 8081);
  const exchanges = async (): Promise<void> => {
    for (let exchange = 0; exchange < 1_000; exchange++) {
      beside.write('x');
      await readExactly(beside, 1);
    }
  };
  await exchanges();
  const before = mesh.proxies[1].memory;
  const peer = await openRudeClient(await connect(outside, v4, 15008), mesh.clientCertificate);
  const calls = 150;
  context.after(() => {
    for (const socket of [beside, peer.raw, ...deaf]) socket.destroy();
    server.close();
    echo.close();
  });
  const sending = (async (): Promise<void> => {
    for (let call = 0; call < calls; call++) {
      const stream = peer.connect(`${v4}:8080`);
      await stream.until(() => stream.events.includes('end'), 60_000);
      await stream.send(Buffer.alloc(STREAM_WINDOW), true);
    }
  })();
  // The peer is stopped if it has sent nothing during exchanges of another client.
  let sent: number;
  do {
    sent = peer.tls.bytesWritten;
    await exchanges();
  } while (peer.tls.bytesWritten !== sent);
  const grown = mesh.proxies[1].memory - before;
  context.diagnostic(`held: ${Math.round(grown / MIB)} MiB; accepted: ${Math.round(sent / MIB)} MiB`);
  assert.ok(grown < LIMIT + SLACK, `${grown / MIB} MiB`);
  await until(() => mesh.proxies[1].stderr.includes('applications of a pod do not read'));
  // Nothing is lost: once they read, everything arrives.
  server.server.on('connection', (socket) => socket.resume());
  for (const socket of deaf) socket.resume();
  await until(() => server.seen.bytes === calls * STREAM_WINDOW, 60_000);
  await sending;
});

test('HBN-08: twelve streams that nobody reads do not stop another stream of their connection', {
  timeout: 60_000,
}, async (context) => {
  await using mesh = await startProcessMesh();
  const deaf: Socket[] = [];
  const server = await listen(mesh.server, 8080, (socket) => deaf.push(socket.pause()));
  const echo = await listen(mesh.server, 8081, (socket) => socket.pipe(socket));
  const beside = await connect(mesh.client, mesh.server.addresses.v4, 8081);
  const exchanges = async (): Promise<void> => {
    for (let exchange = 0; exchange < 200; exchange++) {
      beside.write('x');
      await readExactly(beside, 1, 20_000);
    }
  };
  await exchanges();
  const callers: Socket[] = [];
  context.after(() => {
    for (const socket of [beside, ...callers, ...deaf]) socket.destroy();
    server.close();
    echo.close();
  });
  for (let call = 0; call < 12; call++) {
    const socket = await connect(mesh.client, mesh.server.addresses.v4, 8080);
    socket.write(Buffer.alloc(24 * MIB));
    callers.push(socket);
  }
  const queued = () => callers.reduce((sum, socket) => sum + socket.writableLength, 0);
  let last: number;
  do {
    last = queued();
    await exchanges();
  } while (queued() !== last);
  assert.ok(callers.every((socket) => socket.writableLength > 0));
  const bulk = Buffer.alloc(32 * MIB, 'x');
  beside.write(bulk);
  const [first] = (await once(beside, 'data')) as [Buffer];
  await readExactly(beside, bulk.length - first.length, 30_000);
});
