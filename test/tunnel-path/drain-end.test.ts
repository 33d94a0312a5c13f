import assert from 'node:assert/strict';
import type { Socket } from 'node:net';
import { test } from 'node:test';
import { startTestMesh } from '@kmesh/lab/testing/tunnel/mesh.ts';
import { connect, ending, listen, readExactly, until } from '@kmesh/lab/testing/tunnel/traffic.ts';

/** Nodes of client and server, and the one whose proxy drains. */
const places = [
  { what: 'of one node', client: 0, server: 0, drained: 0, captured: true },
  { what: "of the client's proxy", client: 0, server: 1, drained: 0, captured: true },
  { what: "of the server's proxy", client: 0, server: 1, drained: 1, captured: true },
  { what: 'to a host outside the mesh', client: 0, server: 1, drained: 0, captured: false },
] as const;

for (const { what, client, server, drained, captured } of places) {
  test(`PRC-09: at the deadline of a drain a connection ${what} ends by FIN once its bytes are forwarded`, async () => {
    await using mesh = await startTestMesh();
    const from = await mesh.pod({ node: client });
    const to = await mesh.pod({ node: server, captured });
    const accepted: Socket[] = [];
    mesh.own(
      await listen(to.pod, 8080, (socket) => {
        accepted.push(socket);
        socket.on('data', (chunk) => socket.write(chunk));
      }),
    );
    const open = await connect(from.pod, to.pod.addresses.v4, 8080);
    open.write('hello world');
    await readExactly(open, 11);
    const ends = [open, ...accepted].map((socket) => ending(socket, 10_000));
    await mesh.proxy(drained).tunnel.drain(100);
    assert.deepEqual(await Promise.all(ends), ['end', 'end']);
    const { connections } = mesh.proxy(drained).records;
    await until(() => connections.length > 0 && connections.every(({ end }) => end !== undefined));
    for (const { end } of connections) {
      assert.equal(end?.flag, '-');
      assert.match(end?.error ?? '', /the proxy stopped/);
    }
    open.destroy();
  });

  test(`PRC-09: at the deadline of a drain a connection ${what} is reset when bytes are held up`, async () => {
    await using mesh = await startTestMesh();
    const from = await mesh.pod({ node: client });
    const to = await mesh.pod({ node: server, captured });
    const accepted: Socket[] = [];
    // A `data` listener would make Node.js read the socket.
    const listening = await listen(to.pod, 8080, (socket) => accepted.push(socket.pause()));
    mesh.own(listening);
    const open = await connect(from.pod, to.pod.addresses.v4, 8080);
    const reader = ending(open, 10_000);
    let held = 0;
    const chunk = Buffer.alloc(1 << 20);
    // Writes until no byte is accepted for a while: every queue on the path is full.
    const fill = (): void => {
      while (open.writableLength === 0 && !open.destroyed) {
        open.write(chunk);
        held += chunk.length;
      }
    };
    open.on('drain', fill);
    fill();
    await untilStill(() => held);
    await mesh.proxy(drained).tunnel.drain(100);
    assert.equal(await reader, 'reset');
    const [socket] = accepted;
    assert.ok(socket);
    assert.equal(await ending(socket, 10_000), 'reset');
  });
}

/** Waits until ten consecutive readings of a figure are equal. */
async function untilStill(figure: () => number): Promise<void> {
  let last = -1;
  let same = 0;
  await until(() => {
    same = figure() === last ? same + 1 : 0;
    last = figure();
    return same > 10;
  }, 20_000);
}
