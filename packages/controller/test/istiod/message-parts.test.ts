import assert from 'node:assert/strict';
import { subscribe } from 'node:diagnostics_channel';
import type { ClientHttp2Stream } from 'node:http2';
import { test } from 'node:test';
import { ChannelCredentials, Metadata } from '@grpc/grpc-js';
import { xds } from '@kmesh/api';
import { freePartsOfMessages, longBytes } from '../../src/istiod/message-parts.ts';
import { openDeltaStream } from '../../src/istiod/stream.ts';
import { standardTimes } from '../../src/istiod/thread.ts';
import { ScriptedControlPlane } from '../xds/support/control-plane.ts';

/** The memory of every part that a stream receives, in order. */
const received: ArrayBuffer[] = [];
subscribe('http2.client.stream.created', (created) => {
  const { stream } = created as { stream: ClientHttp2Stream };
  stream.once('response', () => {
    stream.on('data', (part: Buffer) => void received.push(part.buffer as ArrayBuffer));
  });
});
freePartsOfMessages(xds.deltaMethodPath);

/** Bytes that differ from those of other seeds, and of other places. */
function message(length: number, seed: number): Buffer {
  const bytes = Buffer.alloc(length);
  for (let at = 0; at + 4 <= length; at += 4) bytes.writeUInt32LE((at * 2_654_435_761 + seed) >>> 0, at);
  return bytes;
}

test('the parts of a long message are freed when it is whole, those of others stay until they are read', async () => {
  using plane = await ScriptedControlPlane.start();
  const stream = openDeltaStream({
    target: `ipv4:127.0.0.1:${plane.port}`,
    credentials: ChannelCredentials.createInsecure(),
    metadata: new Metadata(),
    channelOptions: {},
    times: standardTimes,
    onConnected: () => {},
  });
  const served = await plane.stream();

  served.send(message(longBytes, 1));
  assert.ok((await stream.next())?.equals(message(longBytes, 1)));
  const last = received.at(-1);
  const earlier = new Set(received.filter((memory) => memory !== last));
  assert.ok(earlier.size > 10, `the message came in ${earlier.size} parts`);
  for (const memory of earlier) assert.ok(memory.detached);

  // Messages that begin and end within a part, before and after long ones.
  const lengths = [10, longBytes + 7, 1, 3 * longBytes, 0, longBytes - 1, 100_000, 2 * longBytes];
  for (const [seed, length] of lengths.entries()) served.send(message(length, seed));
  for (const [seed, length] of lengths.entries()) {
    const next = await stream.next();
    assert.ok(next?.equals(message(length, seed)), `message ${seed} of ${length} bytes`);
  }
  stream.close();
  await stream.ended;
});
