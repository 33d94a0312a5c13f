import assert from 'node:assert/strict';
import { once } from 'node:events';
import { closeSync, fstatSync, mkdtempSync, openSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { closeDescriptor } from '../src/descriptors.ts';
import { createNetworkNamespace, networkNamespaceFromDescriptor } from '../src/network-namespace.ts';
import {
  connectSeqpacket,
  listenSeqpacket,
  type SeqpacketMessage,
  type SeqpacketOptions,
  type SeqpacketSocket,
} from '../src/seqpacket.ts';

const directory = mkdtempSync(join(tmpdir(), 'kmesh-seqpacket-'));
after(() => rmSync(directory, { recursive: true, force: true }));
let counter = 0;

/** A connected pair over a path; `close` ends both sides. */
async function pair(options: SeqpacketOptions = {}) {
  counter += 1;
  const server = listenSeqpacket(join(directory, `${counter}`), options);
  const accepted = once(server, 'connection');
  const client = connectSeqpacket(server.path);
  const [peer] = (await accepted) as [SeqpacketSocket];
  const close = () => {
    for (const end of [client, peer, server]) end.close();
  };
  return { client, peer, server, close };
}

async function receive(socket: SeqpacketSocket): Promise<SeqpacketMessage> {
  const [message] = (await once(socket, 'message')) as [SeqpacketMessage];
  return message;
}

function openDescriptors(): number {
  return readdirSync('/proc/self/fd').length;
}

test('packets keep their boundaries in both directions', async () => {
  const { client, peer, close } = await pair();
  const got: string[] = [];
  peer.on('message', ({ bytes }) => got.push(Buffer.from(bytes).toString()));
  const answer = receive(client);
  await Promise.all(['one', 'two', 'three'].map((text) => client.send(Buffer.from(text))));
  await peer.send(Buffer.from('answer'));
  assert.equal(Buffer.from((await answer).bytes).toString(), 'answer');
  while (got.length < 3) await once(peer, 'message');
  assert.deepEqual(got, ['one', 'two', 'three']);
  close();
});

test('a passed namespace is the same one on the receiving side', async () => {
  using namespace = createNetworkNamespace();
  const { client, peer, close } = await pair();
  const arriving = receive(peer);
  await client.send(Buffer.from('add'), [namespace.fd]);
  const message = await arriving;
  assert.equal(message.descriptors.length, 1);
  using passed = networkNamespaceFromDescriptor(message.descriptors[0] ?? -1);
  assert.equal(passed.cookie, namespace.cookie);
  close();
});

test('oversized packets and excess descriptors are reported, and the descriptors closed', async () => {
  const before = openDescriptors();
  const { client, peer, close } = await pair({ maxPacketSize: 8, maxDescriptors: 2 });
  const files = Array.from({ length: 5 }, () => openSync('/dev/null', 'r'));
  const arriving = receive(peer);
  await client.send(Buffer.from('0123456789'), files);
  const message = await arriving;
  assert.equal(Buffer.from(message.bytes).toString(), '01234567');
  assert.equal(message.truncated, true);
  assert.equal(message.descriptorsTruncated, true);
  assert.equal(message.descriptors.length, 2);
  for (const fd of message.descriptors) {
    assert(fstatSync(fd).isCharacterDevice());
    closeDescriptor(fd);
  }
  for (const fd of files) closeSync(fd);
  close();
  assert(openDescriptors() <= before);
});

test('sending waits for a slow receiver and loses nothing', async () => {
  const { client, peer, close } = await pair();
  const packet = Buffer.alloc(16_384);
  const sends: Promise<void>[] = [];
  for (let index = 0; index < 200; index += 1) {
    packet.writeUInt32LE(index);
    sends.push(client.send(Buffer.from(packet)));
  }
  assert(client.queued > 0);
  const seen: number[] = [];
  peer.on('message', ({ bytes }) => seen.push(Buffer.from(bytes).readUInt32LE()));
  await Promise.all(sends);
  while (seen.length < 200) await once(peer, 'message');
  assert.deepEqual(
    seen,
    seen.map((_, index) => index),
  );
  close();
});

test("the peer's close closes the socket once, and later sends fail", async () => {
  const { client, peer, close } = await pair();
  let closes = 0;
  peer.on('close', () => {
    closes += 1;
  });
  peer.on('message', () => assert.fail('nothing was sent'));
  client.close();
  await once(peer, 'close');
  close();
  await assert.rejects(peer.send(Buffer.from('late')), { code: 'KMESH_CLOSED' });
  await assert.rejects(client.send(Buffer.from('late')), { code: 'KMESH_CLOSED' });
  assert.equal(closes, 1);
});

test('a paused socket receives nothing until it is resumed', async () => {
  const { client, peer, close } = await pair();
  let count = 0;
  peer.on('message', () => {
    count += 1;
    peer.pause();
  });
  await client.send(Buffer.from('a'));
  await client.send(Buffer.from('b'));
  await once(peer, 'message');
  for (let turn = 0; turn < 5; turn += 1) await new Promise(setImmediate);
  assert.equal(count, 1);
  peer.resume();
  await once(peer, 'message');
  assert.equal(count, 2);
  close();
});

test('the error for a missing, used or too long path names it', async () => {
  assert.throws(() => connectSeqpacket(join(directory, 'nobody')), {
    errnoName: 'ENOENT',
    syscall: 'connect',
  });
  const { server, close } = await pair();
  assert.throws(() => listenSeqpacket(server.path), {
    errnoName: 'EADDRINUSE',
    code: 'KMESH_SEQPACKET_FAILED',
  });
  assert.throws(() => connectSeqpacket('/'.padEnd(120, 'x')), /a path of 1 to 107 bytes/);
  close();
});
