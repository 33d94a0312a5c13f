import { type MessagePort, parentPort } from 'node:worker_threads';
import { status } from '@grpc/grpc-js';
import { xds } from '@kmesh/api';
import { serveCalls } from './calls.ts';
import { channelCredentials, grpcTarget, requestMetadata, tlsChannelOptions } from './channel.ts';
import { SettingError } from './control-plane.ts';
import { freePartsOfMessages, longBytes } from './message-parts.ts';
import { type DeltaStream, openDeltaStream, type StreamEnd } from './stream.ts';
import type { FromStream, OpenStream, ToStream } from './thread.ts';
import type { OpenCalls } from './thread-calls.ts';

/** Size of a piece: decoding and applying one takes a few slices of the control thread. */
const pieceBytes = 256 * 1024;

freePartsOfMessages(xds.deltaMethodPath);
parentPort?.on('message', (request: OpenStream | OpenCalls) => {
  if (request.kind === 'calls') serveCalls(request);
  else void serve(request);
});

/** Runs one stream and sends its end as the last message of the port. */
async function serve({ port, ...request }: OpenStream): Promise<void> {
  const send = (message: FromStream, transfer?: ArrayBuffer): void =>
    port.postMessage(message, transfer === undefined ? [] : [transfer]);
  try {
    const stream = await open(request, () => send({ kind: 'connected' }));
    relay(port, stream, send);
    send({ kind: 'ended', end: await stream.ended });
  } catch (error) {
    send({ kind: 'ended', end: failedEnd(error) });
  }
}

async function open(
  { controlPlane, settings, times }: Omit<OpenStream, 'port' | 'kind'>,
  onConnected: () => void,
): Promise<DeltaStream> {
  const end = { closed: false };
  const stream = openDeltaStream({
    target: grpcTarget(controlPlane.address),
    credentials: await channelCredentials(controlPlane, settings, end),
    metadata: await requestMetadata(controlPlane, settings),
    channelOptions: tlsChannelOptions(controlPlane),
    times,
    onConnected,
  });
  void stream.ended.then(() => {
    end.closed = true;
  });
  return stream;
}

/** Passes messages between the port and the stream. Earlier messages are still queued in the port. */
function relay(
  port: MessagePort,
  stream: DeltaStream,
  send: (message: FromStream, transfer?: ArrayBuffer) => void,
): void {
  let pieces: Uint8Array<ArrayBuffer>[] = [];
  const receive = async (): Promise<void> => {
    const message = await stream.next();
    // The `ended` message reports it.
    if (message === undefined) return;
    try {
      const { header, pieces: all } = xds.splitResponse(message, pieceBytes);
      pieces = [...all];
      const isLong = message.length >= longBytes;
      if (isLong) release(message);
      const piece = pieces.shift();
      send({ kind: 'response', header, isLong, piece }, piece?.buffer);
    } catch (error) {
      send({ kind: 'malformed', reason: error instanceof Error ? error.message : String(error) });
    }
  };
  port.on('message', (message: ToStream) => {
    switch (message.kind) {
      case 'send':
        stream.send(Buffer.from(message.bytes.buffer));
        return;
      case 'next':
        void receive();
        return;
      case 'piece': {
        const piece = pieces.shift();
        send({ kind: 'piece', piece }, piece?.buffer);
        return;
      }
      case 'close':
        stream.close();
    }
  });
  port.on('close', () => stream.close());
}

/**
 * Frees a long message at once, which has memory of its own: the thread allocates too little for its garbage collector to
 * run soon.
 */
function release(message: Buffer): void {
  const { buffer } = message;
  if (buffer instanceof ArrayBuffer) buffer.transfer(0);
}

function failedEnd(error: unknown): StreamEnd {
  return {
    connected: false,
    transportClosed: false,
    code: status.FAILED_PRECONDITION,
    details: error instanceof Error ? error.message : String(error),
    failure: { setting: error instanceof SettingError ? error.setting : undefined },
  };
}
