import assert from 'node:assert/strict';
import type { Socket } from 'node:net';
import { after, before, test } from 'node:test';
import { eventually } from '@kmesh/api/testing';
import { type FrameConnection, http2Code, openRudeClient, type Pod } from '@kmesh/lab';
import { startTestMesh, type TestMesh } from '@kmesh/lab/testing/tunnel/mesh.ts';
import { connect, listen, until } from '@kmesh/lab/testing/tunnel/traffic.ts';

const SHARE = 20;

let mesh: TestMesh;
let server: Pod;
let peer: FrameConnection;
/** Sockets of an application that neither reads nor ends. */
const held: Socket[] = [];

before(async () => {
  mesh = await startTestMesh({ nodes: 1, settings: { share: { descriptors: 100_000, perPod: SHARE } } });
  server = (await mesh.pod()).pod;
  mesh.own(await listen(server, 8080, (socket) => held.push(socket.pause())));
  const client = await mesh.pod({ captured: false });
  const socket = await connect(client.pod, server.addresses.v4, 15008);
  peer = await openRudeClient(socket, mesh.authority.issue(client.workload));
});
after(async () => {
  peer?.raw.destroy();
  await mesh[Symbol.asyncDispose]();
});

/** Opens a connection to the application and ends it after a byte. Returns whether it was served. */
async function call(): Promise<boolean> {
  const stream = peer.connect(`${server.addresses.v4}:8080`);
  await stream.until(() => stream.events.length > 0);
  if (stream.events.includes('end')) return false;
  const ended = (): number => mesh.records.connections.filter(({ end }) => end !== undefined).length;
  const before = ended();
  await stream.send(Buffer.from('x'));
  stream.reset(http2Code.noError);
  await until(() => ended() > before);
  return true;
}

test('a connection whose application does not end counts in the share of its pod until its socket is closed', async () => {
  let served = 0;
  while (served <= SHARE && (await call())) served += 1;
  // One is the peer's own connection.
  assert.equal(served, SHARE - 1);
  for (const socket of held.splice(0)) socket.destroy();
  await eventually('the next is served', call);
});
