import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { frameBytes, number32, openPeerTls } from '@kmesh/lab';
import { startTestMesh, type TestMesh } from '@kmesh/lab/testing/tunnel/mesh.ts';
import { connect, listen, until } from '@kmesh/lab/testing/tunnel/traffic.ts';

/** Bytes of a response that its reader does not read; the buffers on the path hold all of it. */
const RESPONSE = 1 << 20;

/** More than the ended sessions that a data thread waits for. */
const STRANGERS = 300;

let mesh: TestMesh;

before(async () => {
  mesh = await startTestMesh({ nodes: 2 });
});
after(async () => {
  await mesh[Symbol.asyncDispose]();
});

describe('peers that go on sending while their session ends', () => {
  test('INB-19: a client without a certificate reads the alert, not a reset', async () => {
    const client = await mesh.pod({ captured: false });
    const server = await mesh.pod();
    for (let round = 0; round < 20; round++) {
      const socket = await connect(client.pod, server.pod.addresses.v4, 15008);
      const tls = await openPeerTls(socket, {
        rootsPem: mesh.authority.issue(client.workload).rootsPem,
      });
      const failed = new Promise<NodeJS.ErrnoException>((resolve) => tls.once('error', resolve));
      // More than the socket's buffers hold, so that the client is still sending when the alert arrives.
      for (let written = 0; written < 64; written++) tls.write(Buffer.alloc(1 << 20));
      assert.equal((await failed).code, 'ERR_SSL_TLSV13_ALERT_CERTIFICATE_REQUIRED', `round ${round}`);
      tls.destroy();
    }
  });

  test('PRC-09: at a drain a slow reader that sends PING and WINDOW_UPDATE gets the whole response, also beside hundreds of failed handshakes', async () => {
    const client = await mesh.pod({ captured: false });
    const server = await mesh.pod();
    const strangers = await Promise.all(
      Array.from({ length: STRANGERS }, () => connect(client.pod, server.pod.addresses.v4, 15008)),
    );
    mesh.own(
      await listen(server.pod, 8080, (socket) => {
        socket.resume();
        socket.end(Buffer.alloc(RESPONSE, 'k'));
      }),
    );
    const socket = await connect(client.pod, server.pod.addresses.v4, 15008);
    const tls = await openPeerTls(socket, { identity: mesh.authority.issue(client.workload) });
    const literal = (text: string): Buffer => Buffer.concat([Buffer.from([text.length]), Buffer.from(text)]);
    const field = (name: string, value: string): Buffer =>
      Buffer.concat([Buffer.from([0]), literal(name), literal(value)]);
    tls.write(
      Buffer.concat([
        Buffer.from('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n'),
        frameBytes(4, 0, 0, Buffer.concat([Buffer.from([0, 4]), number32(2 * RESPONSE)])),
        frameBytes(8, 0, 0, number32(2 * RESPONSE)),
        frameBytes(
          1,
          5,
          1,
          Buffer.concat([
            field(':method', 'CONNECT'),
            field(':authority', `${server.pod.addresses.v4}:8080`),
          ]),
        ),
      ]),
    );
    // The client does not read: the whole response is in the buffers.
    const { connections } = mesh.proxy(0).records;
    await until(() => connections.some(({ end }) => end !== undefined), 20_000);
    let isDrained = false;
    const drained = mesh
      .proxy(0)
      .tunnel.drain(30_000)
      .then(() => (isDrained = true));
    await until(() => mesh.proxy(0).tunnel.sessionCount === STRANGERS, 20_000);
    for (const stranger of strangers) stranger.write('no TLS at all');
    await until(() => mesh.proxy(0).tunnel.sessionCount === 0, 20_000);
    const send = (frame: Buffer) => new Promise((resolve) => tls.write(frame, resolve));
    for (let round = 0; round < 20; round++) {
      await send(frameBytes(6, 0, 0, Buffer.alloc(8)));
      await send(frameBytes(8, 0, 0, number32(1)));
    }
    // A drain that began later, and has nothing to wait for, ends first.
    await mesh.proxy(1).tunnel.drain(30_000);
    assert.ok(!isDrained, 'the drain waits for the reader');
    let ended = false;
    tls.once('close', () => (ended = true));
    const chunks: Buffer[] = [];
    tls.on('data', (chunk: Buffer) => chunks.push(chunk));
    await until(() => ended, 20_000);
    const { data, goaways } = readFrames(Buffer.concat(chunks));
    assert.equal(data, RESPONSE);
    assert.ok(goaways > 0, 'GOAWAY was read');
    for (const stranger of strangers) stranger.destroy();
    await drained;
  });
});

test('PRC-09: a drain does not wait for a peer that is gone', async () => {
  await using own = await startTestMesh({ nodes: 2, settings: { pool: { releaseMilliseconds: 1_000 } } });
  const client = await own.pod();
  const server = await own.pod({ node: 1 });
  await server.pod.serve({ port: 8080, mode: 'http' });
  const to = `${server.pod.addresses.v4}:8080`;
  assert.equal((await client.pod.dial({ to, mode: 'http', connections: 1 })).failed, 0);
  // It was deleted: no packet is answered any more.
  const silence =
    'table inet gone { chain arriving { type filter hook prerouting priority -300; policy drop; }; }';
  await server.pod.run('nft', [silence]);
  // Until the unused session is released, its last frames unacknowledged.
  const { tunnel } = own.proxy(0);
  await until(() => tunnel.unacknowledgedCount > 0, 20_000);
  let isDrained = false;
  const drained = tunnel.drain(60_000).then(() => (isDrained = true));
  // The session itself is given up after 30 s without an answer.
  await until(() => isDrained, 20_000);
  await drained;
});

/** Number of bytes in DATA frames, and of GOAWAY frames. */
function readFrames(bytes: Buffer): { data: number; goaways: number } {
  let [data, goaways] = [0, 0];
  for (let at = 0; at + 9 <= bytes.length; ) {
    const length = bytes.readUIntBE(at, 3);
    if (bytes[at + 3] === 0) data += length;
    if (bytes[at + 3] === 7) goaways += 1;
    at += 9 + length;
  }
  return { data, goaways };
}
