/**
 * A control plane for benchmarks, in a process of its own: `push-server.ts <workloads> <services>`. It pushes the
 * whole mesh to the first subscriber, and one endpoint change for each message from its parent. It reports its port,
 * and for each push the monotonic clock in nanoseconds before its first and after its last byte.
 */
import { createServer, type ServerHttp2Stream } from 'node:http2';
import type { AddressInfo } from 'node:net';
import { xds } from '@kmesh/api';
import { endpointChange, fullPush } from './mesh.ts';

const [workloads = 0, services = 0] = process.argv.slice(2).map(Number);
const mesh = { workloads, services };
const push = fullPush(mesh);
let subscriber: ServerHttp2Stream | undefined;

function frame(message: Buffer): Buffer {
  const framed = Buffer.allocUnsafe(message.length + 5);
  framed.writeUInt8(0, 0);
  framed.writeUInt32BE(message.length, 1);
  message.copy(framed, 5);
  return framed;
}

function send(message: Buffer, event: string): void {
  const begun = process.hrtime.bigint();
  subscriber?.write(frame(message), () => {
    const written = process.hrtime.bigint();
    process.send?.({ event, begun: String(begun), written: String(written) });
  });
}

const server = createServer({ settings: { initialWindowSize: 4 * 1024 * 1024 } });
server.on('stream', (stream: ServerHttp2Stream) => {
  stream.respond({ ':status': 200, 'content-type': 'application/grpc' }, { waitForTrailers: true });
  stream.on('error', () => {});
  let received = Buffer.alloc(0);
  stream.on('data', (data: Buffer) => {
    received = Buffer.concat([received, data]);
    while (received.length >= 5 && received.length >= 5 + received.readUInt32BE(1)) {
      const end = 5 + received.readUInt32BE(1);
      const request = xds.DeltaDiscoveryRequest.decode(received.subarray(5, end));
      received = received.subarray(end);
      answer(stream, request);
    }
  });
});

function answer(stream: ServerHttp2Stream, request: xds.DeltaDiscoveryRequest): void {
  if (request.responseNonce) return;
  subscriber = stream;
  if (request.typeUrl === xds.addressTypeUrl) send(push, 'pushed');
  else {
    send(
      xds.DeltaDiscoveryResponse.encode({ typeUrl: request.typeUrl ?? '', nonce: 'policies' }),
      'policies',
    );
  }
}

process.on('message', (index: number) => send(endpointChange(mesh, index), 'changed'));
process.on('disconnect', () => process.exit(0));
server.listen(0, '127.0.0.1', () => {
  process.send?.({ event: 'listening', port: (server.address() as AddressInfo).port, bytes: push.length });
});
