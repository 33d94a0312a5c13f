import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { after, before, describe, test } from 'node:test';
import { type FrameStream, number32, type Pod, serveRudeWaypoint } from '@kmesh/lab';
import { gatewayed } from '@kmesh/lab/testing/tunnel/gateway.ts';
import { startTestMesh, type TestMesh } from '@kmesh/lab/testing/tunnel/mesh.ts';
import { connect, hello, until } from '@kmesh/lab/testing/tunnel/traffic.ts';

let mesh: TestMesh;
let client: Pod;

before(async () => {
  mesh = await startTestMesh({ nodes: 2 });
  client = (await mesh.pod()).pod;
});
after(async () => {
  await mesh[Symbol.asyncDispose]();
});

/** Passes the bytes of a stream to the final server and back; a reset of it closes the connection, as Envoy does. */
async function passOn(stream: FrameStream, gateway: Pod, final: Pod): Promise<void> {
  stream.respond();
  const onward = await connect(gateway, final.addresses.v4, 15008);
  onward.on('data', (chunk: Buffer) => void stream.send(chunk));
  onward.on('end', () => void stream.send(Buffer.alloc(0), true));
  let passed = 0;
  const over = (): boolean => /^(end|reset.*)$/.test(stream.events.at(-1) ?? '');
  while (!over()) {
    await stream.until(() => stream.chunks.length > passed || over(), 30_000);
    if (over() && stream.events.at(-1) !== 'end') break;
    while (passed < stream.chunks.length) onward.write(stream.chunks[passed++] as Buffer);
  }
  if (stream.events.at(-1) === 'end') onward.end();
  else onward.destroy();
}

describe('double HBONE', () => {
  test('HBN-15: an inner connection that goes on after it refused the request is not left behind', async () => {
    const { service, inner, losses } = await gatewayed(mesh, 'refusing', 'ip');
    losses.refused = 2;
    assert.equal(await hello(client, service.vips[0]?.ip ?? '', 8080), 'hello worldhello world');
    assert.equal(inner.requests.length, 3);
    await until(() => inner.sessions.size === 0 && inner.open === 0);
  });

  test('HBN-15, HBN-13: bytes that wait for the gateway arrive after the connection has ended', async () => {
    let outer: FrameStream | undefined;
    const { service, hooks, inner } = await gatewayed(
      mesh,
      'slow',
      'ip',
      [],
      (gateway, identity, port, final) =>
        serveRudeWaypoint(gateway, {
          identity,
          port,
          window: 30_000,
          giveBack: false,
          onStream: (stream) => {
            outer = stream;
            void passOn(stream, gateway, final).catch(() => undefined);
          },
        }),
    );
    const chunks: Buffer[] = [];
    let how = 'open';
    // It sends nothing, and says so at once.
    hooks.requested = (stream) => {
      stream.respond({ ':status': 200 });
      stream.end();
      stream.on('data', (chunk: Buffer) => chunks.push(chunk));
      stream.on('end', () => {
        how = 'end';
      });
      stream.on('close', () => {
        if (how === 'open') how = 'reset';
      });
    };
    mesh.clear();
    const socket = await connect(client, service.vips[0]?.ip ?? '', 8080);
    const upload = randomBytes(150_000);
    socket.end(upload);
    const { end } = await mesh.records.closed('source');
    assert.deepEqual([end.flag, end.bytesFromClient], ['-', upload.length]);
    assert.ok(Buffer.concat(chunks).length < upload.length);
    for (const id of [0, outer?.id ?? 0]) outer?.connection.frame(8, 0, id, number32(1 << 20));
    await until(() => how !== 'open');
    assert.equal(how, 'end');
    assert.ok(Buffer.concat(chunks).equals(upload));
    // The connection ends in order, and holds nothing.
    await until(() => inner.sessions.size === 0 && outer?.events.at(-1) === 'end');
  });

  test('HBN-15: if the gateway loses its connection during the handshake inside, another one is tried', async () => {
    let outer = 0;
    const { service } = await gatewayed(mesh, 'lost', 'ip', [], (gateway, identity, port, final) =>
      serveRudeWaypoint(gateway, {
        identity,
        port,
        onStream: (stream) => {
          outer += 1;
          if (outer > 2) {
            void passOn(stream, gateway, final).catch(() => undefined);
            return;
          }
          stream.respond();
          const lose = outer === 1 ? stream.connection.end : stream.connection.reset;
          void stream.until(() => stream.received.length > 0).then(lose.bind(stream.connection));
        },
      }),
    );
    mesh.clear();
    assert.equal(await hello(client, service.vips[0]?.ip ?? '', 8080), 'hello worldhello world');
    assert.equal(outer, 3);
    assert.equal((await mesh.records.closed('source')).end.flag, '-');
  });
});
