/**
 * A control plane for benchmarks, in a separate process: `push-server.ts <workloads> <services>`. Over TLS it pushes
 * what its parent requests: `{ push: true }` for the whole mesh, `{ change: index }` for one endpoint change, `{
 * churnSeconds }` for one per cent of the workloads per second. It reports to its parent its address, the
 * acknowledgement of an empty mesh by a client, and for each push the time before its first and after its last byte, in
 * the format of log lines. It also signs certificates.
 */
import { createSecureServer, type ServerHttp2Stream } from 'node:http2';
import type { AddressInfo } from 'node:net';
import { xds } from '@kmesh/api';
import { createAuthority, startFakeIstiod } from '@kmesh/lab';
import { logTime } from '@kmesh/probe';
import { endpointChanges, fullPush } from './mesh.ts';

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
  const begun = logTime();
  subscriber?.write(frame(message), () => {
    const written = logTime();
    process.send?.({ event, begun, written });
  });
}

const authority = createAuthority();
const { chainPem, privateKeyPem } = authority.issue({ ips: ['127.0.0.1'] });
const certificates = await startFakeIstiod({ authority });
const server = createSecureServer({
  cert: chainPem,
  key: privateKeyPem,
  settings: { initialWindowSize: 4 * 1024 * 1024 },
});
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

/** An empty mesh first, so that the wait before a daemon's first acknowledgement does not count as part of the push. */
const EMPTY = 'empty';
let unacknowledged = 0;

function answer(stream: ServerHttp2Stream, { typeUrl, responseNonce }: xds.DeltaDiscoveryRequest): void {
  // The daemon acknowledges the last of them when it has a whole mesh and its kernel path applies it.
  if (responseNonce === EMPTY && --unacknowledged === 0) process.send?.({ event: 'subscribed' });
  if (responseNonce) return;
  unacknowledged++;
  subscriber = stream;
  send(xds.DeltaDiscoveryResponse.encode({ typeUrl: typeUrl ?? '', nonce: EMPTY }), EMPTY);
}

/** Responses of a tenth of a second each; every workload changes once before one changes back. */
function churn(seconds: number): void {
  const perResponse = Math.max(1, Math.round(workloads / 1_000));
  const responses = seconds * 10;
  let sent = 0;
  const timer = setInterval(() => {
    const first = sent * perResponse;
    const indexes = Array.from({ length: perResponse }, (_, offset) => (first + offset) % workloads);
    const unhealthy = Math.floor(first / workloads) % 2 === 0;
    sent++;
    send(
      endpointChanges(mesh, indexes, unhealthy, `churn-${sent}`),
      sent === responses ? 'churned' : 'churn',
    );
    if (sent === responses) clearInterval(timer);
  }, 100);
}

interface Wish {
  readonly push?: true;
  readonly change?: number;
  readonly churnSeconds?: number;
}

process.on('message', ({ push: whole, change, churnSeconds }: Wish) => {
  if (whole) send(push, 'pushed');
  if (change !== undefined) send(endpointChanges(mesh, [change], true, `change-${change}`), 'changed');
  if (churnSeconds !== undefined) churn(churnSeconds);
});
process.on('disconnect', () => process.exit(0));
server.listen(0, '127.0.0.1', () => {
  process.send?.({
    event: 'listening',
    xdsAddress: `https://127.0.0.1:${(server.address() as AddressInfo).port}`,
    caAddress: certificates.caAddress,
    rootPem: authority.rootPem,
    token: certificates.token,
    bytes: push.length,
  });
});
