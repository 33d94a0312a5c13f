import assert from 'node:assert/strict';
import type { Socket } from 'node:net';
import { Duplex } from 'node:stream';
import { after, before, test } from 'node:test';
import { connect as connectTls } from 'node:tls';
import { openRudeClient } from '@kmesh/lab';
import { startTestMesh, type TestMesh } from '@kmesh/lab/testing/tunnel/mesh.ts';
import { connect, listen, readExactly, until } from '@kmesh/lab/testing/tunnel/traffic.ts';

const HANDSHAKES = 300;
/** Most handshakes for which others may wait: those of a few turns of the data thread. */
const FEW = HANDSHAKES / 3;

/** Most handshakes in progress on a node. */
const MAXIMUM = 2_048;

type TestPod = Awaited<ReturnType<TestMesh['pod']>>;

let mesh: TestMesh;
let server: TestPod;
let other: TestPod;
let attacker: TestPod;
let peer: TestPod;

before(async () => {
  mesh = await startTestMesh({ nodes: 1, settings: { threads: 1 } });
  server = await mesh.pod();
  other = await mesh.pod();
  attacker = await mesh.pod({ captured: false });
  peer = await mesh.pod({ captured: false });
  mesh.own(await listen(server.pod, 8080, (socket) => socket.pipe(socket)));
});
after(() => mesh[Symbol.asyncDispose]());

/** Returns the first message of a TLS client, which costs it nothing to send again. */
function clientHello(): Promise<Buffer> {
  return new Promise((resolve) => {
    const wire = new Duplex({
      read: () => undefined,
      write: (chunk: Buffer, _, done) => {
        resolve(chunk);
        done();
      },
    });
    connectTls({ socket: wire, ALPNProtocols: ['h2'], minVersion: 'TLSv1.3' }).on('error', () => undefined);
  });
}

/** Lets a client without a certificate begin many handshakes at once. Returns the number of those answered so far. */
async function flood(stack: DisposableStack): Promise<() => number> {
  const hello = await clientHello();
  const sessions = (): number => mesh.proxy(0).tunnel.sessionCount;
  // The handshakes of an earlier flood have ended.
  await until(() => sessions() < 10);
  const before = sessions();
  let answered = 0;
  const sockets: Socket[] = [];
  stack.defer(() => {
    for (const socket of sockets) socket.destroy();
  });
  while (sockets.length < HANDSHAKES) {
    const socket = await connect(attacker.pod, server.pod.addresses.v4, 15008);
    socket.once('data', () => {
      answered += 1;
    });
    sockets.push(socket);
  }
  await until(() => sessions() >= before + HANDSHAKES);
  for (const socket of sockets) socket.write(hello);
  return () => answered;
}

test('bytes of open connections do not wait for the handshakes of one client', async (context) => {
  using stack = new DisposableStack();
  const socket = await connect(other.pod, server.pod.addresses.v4, 8080);
  stack.defer(() => socket.destroy());
  socket.write('x');
  await readExactly(socket, 1);
  const answered = await flood(stack);
  socket.write('x');
  await readExactly(socket, 1);
  context.diagnostic(`handshakes before the answer: ${answered()}`);
  assert.ok(answered() < FEW, `${answered()} of ${HANDSHAKES} handshakes came first`);
});

test('a handshake does not wait for those of another client with the same pod', async (context) => {
  using stack = new DisposableStack();
  const transport = await connect(peer.pod, server.pod.addresses.v4, 15008);
  const answered = await flood(stack);
  const session = await openRudeClient(transport, mesh.authority.issue(peer.workload));
  stack.defer(() => session.raw.destroy());
  context.diagnostic(`handshakes before it: ${answered()}`);
  assert.ok(answered() < FEW, `${answered()} of ${HANDSHAKES} handshakes came first`);
});

test('at the limit of handshakes in progress the oldest of the client that has most of them ends', async () => {
  using stack = new DisposableStack();
  const sessions = (): number => mesh.proxy(0).tunnel.sessionCount;
  await until(() => sessions() < 10);
  const idle = sessions();
  const first = await connect(peer.pod, server.pod.addresses.v4, 15008);
  stack.defer(() => first.destroy());
  let ended = 0;
  for (let count = 0; count < MAXIMUM + 20; count++) {
    const socket = await connect(attacker.pod, server.pod.addresses.v4, 15008);
    stack.defer(() => socket.destroy());
    socket.once('close', () => {
      ended += 1;
    });
    socket.resume();
  }
  await until(() => ended === 21);
  assert.equal(sessions(), idle + MAXIMUM);
  const errors = mesh.records.denies.map(({ error }) => error);
  assert.equal(errors.filter((error) => error?.startsWith('too many TLS handshakes')).length, 21);
  // That of the other client was older than all of them.
  const session = await openRudeClient(first, mesh.authority.issue(peer.workload));
  session.raw.destroy();
});
