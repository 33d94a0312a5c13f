import assert from 'node:assert/strict';
import {
  createServer as createHttp2Server,
  type ServerHttp2Session,
  type ServerHttp2Stream,
} from 'node:http2';
import { type AddressInfo, connect, createServer, type Socket } from 'node:net';
import { describe, test } from 'node:test';
import { type MeshUpdate, xds } from '@kmesh/api';
import { Interner } from '../../src/xds/convert/common.ts';
import { buildFirstRequest } from '../../src/xds/requests.ts';
import { RetainedResources } from '../../src/xds/resources.ts';
import { applyResponse } from '../../src/xds/responses.ts';
import { startClient, until } from './support/client.ts';
import { ScriptedControlPlane } from './support/control-plane.ts';
import { pod, workloadResource } from './support/resources.ts';

const typeUrl = xds.addressTypeUrl;

/** A TCP relay that can stop forwarding bytes without closing connections. */
async function startRelay(port: number): Promise<{ address: string; freeze(): void } & Disposable> {
  const sockets = new Set<Socket>();
  let frozen = false;
  const server = createServer((inner) => {
    const outer = connect(port, '127.0.0.1');
    for (const socket of [inner, outer]) {
      sockets.add(socket);
      socket.on('error', () => {});
    }
    inner.on('data', (data) => frozen || outer.write(data));
    outer.on('data', (data) => frozen || inner.write(data));
    inner.on('close', () => outer.destroy());
    outer.on('close', () => inner.destroy());
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return {
    address: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    freeze: () => {
      frozen = true;
    },
    [Symbol.dispose]: () => {
      for (const socket of sockets) socket.destroy();
      server.close();
    },
  };
}

/** An HTTP/2 server whose streams the test handles. */
async function startRaw(
  handle: (stream: ServerHttp2Stream, session: ServerHttp2Session) => void,
): Promise<{ address: string } & Disposable> {
  const server = createHttp2Server();
  const sessions = new Set<ServerHttp2Session>();
  server.on('session', (session) => sessions.add(session));
  server.on('stream', (stream: ServerHttp2Stream) => {
    stream.on('error', () => {});
    stream.respond({ ':status': 200, 'content-type': 'application/grpc' });
    if (stream.session) handle(stream, stream.session as ServerHttp2Session);
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return {
    address: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    [Symbol.dispose]: () => {
      for (const session of sessions) session.destroy();
      server.close();
    },
  };
}

function header(length: number): Buffer {
  const bytes = Buffer.alloc(5);
  bytes.writeUInt32BE(length, 1);
  return bytes;
}

describe('xDS under bad conditions', () => {
  test('XDS-17: a response of 30 MiB is applied, and acknowledged as a whole', async () => {
    using plane = await ScriptedControlPlane.start();
    await using running = startClient({ address: plane.address });
    const stream = await plane.stream();
    await stream.subscriptions();
    const filler = 'x'.repeat(30 * 1024);
    const resources = Array.from({ length: 1024 }, (_, index) =>
      workloadResource({ ...pod(`p${index}`), workloadName: filler }),
    );
    const answer = await stream.exchange({ typeUrl, nonce: 'big', resources });
    assert.equal(answer.responseNonce, 'big');
    assert.equal(answer.errorDetail ?? null, null);
    assert.equal(running.updates.length, 1024);
    assert.ok((running.client.counters.messageBytes.get(typeUrl) ?? 0) > 30 * 1024 * 1024);
  });

  test('a message with a declared length of 4 GiB is refused before memory is allocated for it', async () => {
    using plane = await startRaw((stream) => stream.write(header(0xffff_ffff)));
    await using running = startClient({ address: plane.address });
    await until(() => running.client.counters.terminations.Error > 0);
    assert.match(String(running.lines[0]?.fields['cause']), /larger than max/);
  });

  test('a message that is lost with its connection is received by the next stream', async () => {
    const message = xds.DeltaDiscoveryResponse.encode({
      typeUrl,
      nonce: '1',
      resources: [workloadResource(pod('a'))],
    });
    let streams = 0;
    using plane = await startRaw((stream, session) => {
      streams++;
      stream.write(
        Buffer.concat([header(message.length), message.subarray(0, streams === 1 ? 20 : message.length)]),
      );
      if (streams === 1) setTimeout(() => session.destroy(), 30);
    });
    await using running = startClient({ address: plane.address });
    await until(() => running.updates.length === 1);
    assert.equal(running.client.counters.terminations.Reconnect, 1);
  });

  test('an undecodable response ends the stream, not the client', async () => {
    let streams = 0;
    using plane = await startRaw((stream) => {
      streams++;
      stream.write(Buffer.concat([header(3), Buffer.of(0x12, 0x7f, 0)]));
    });
    await using running = startClient({ address: plane.address });
    await until(() => streams >= 3);
    assert.ok(running.client.counters.terminations.Error >= 2);
    assert.match(String(running.lines[0]?.fields['cause']), /not a delta discovery response/);
  });

  test('XDS-12: a GOAWAY with a closed transport is a regular reconnect', async () => {
    let streams = 0;
    using plane = await startRaw((_stream, session) => {
      streams++;
      if (streams > 1) return;
      session.goaway(0);
      setTimeout(() => session.destroy(), 20);
    });
    await using running = startClient({ address: plane.address });
    await until(() => streams === 2);
    const { terminations } = running.client.counters;
    assert.deepEqual(terminations, { ConnectionError: 0, Reconnect: 1, Error: 0, Complete: 0 });
  });

  test('a connection that stops responding is detected and replaced', async () => {
    using plane = await ScriptedControlPlane.start();
    using relay = await startRelay(plane.port);
    await using running = startClient({
      address: relay.address,
      options: { times: { keepaliveTime: 100, keepaliveTimeout: 100, connectTimeout: 200 } },
    });
    await (await plane.stream()).subscriptions();
    relay.freeze();
    await until(() => running.client.counters.terminations.Reconnect === 1);
    await until(() => running.client.counters.terminations.ConnectionError >= 1);
    const refused = running.lines.find((line) => line.fields['reason'] === 'ConnectionError');
    assert.match(String(refused?.fields['cause']), /no connection within 200 ms/);
  });

  test('the next response is not read while one is applied', async () => {
    using plane = await ScriptedControlPlane.start();
    let release = (): void => {};
    const gate = new Promise<void>((resolve) => {
      release = resolve;
    });
    let underWay = 0;
    await using running = startClient({
      address: plane.address,
      apply: async () => {
        underWay++;
        assert.equal(underWay, 1);
        await gate;
        underWay--;
      },
    });
    const stream = await plane.stream();
    await stream.subscriptions();
    for (let index = 0; index < 20; index++) {
      stream.send({ typeUrl, nonce: `${index}`, resources: [workloadResource(pod(`p${index}`))] });
    }
    await until(() => running.updates.length === 1);
    assert.equal(stream.requests.length, 2);
    release();
    for (let index = 0; index < 20; index++) assert.equal((await stream.request()).responseNonce, `${index}`);
  });

  test('resources whose versions do not fit into a request are removed if the first response lacks them', async () => {
    const retained = new RetainedResources();
    for (let index = 0; index < 60_000; index++) {
      retained.accept(
        `Kubernetes//Pod/namespace/a-rather-long-pod-name-${index}`,
        'workload',
        '0123456789abcdef',
      );
    }
    const { bytes, unconfirmed } = await buildFirstRequest({
      typeUrl,
      node: {},
      onDemand: false,
      retained,
      pending: ['/10.0.0.1'],
    });
    assert.ok(bytes.length < 4 * 1024 * 1024);
    const versions = xds.DeltaDiscoveryRequest.decode(bytes).initialResourceVersions;
    const sent = Object.keys(versions).length;
    assert.equal(versions['/10.0.0.1'], '');
    assert.ok(unconfirmed.size > 0);
    assert.equal(sent - 1 + unconfirmed.size, 60_000);
  });

  test('changes that were received before the rest of a response was lost are applied', async () => {
    const retained = new RetainedResources();
    const applied: MeshUpdate[] = [];
    const { header, pieces } = xds.splitResponse(
      xds.DeltaDiscoveryResponse.encode({ typeUrl, nonce: '1', resources: [workloadResource(pod('a'))] }),
      1_000,
    );
    const rest = pieces.values();
    const nextPiece = async (): Promise<Uint8Array> => {
      const { value } = rest.next();
      if (value === undefined) throw new Error('the thread ended');
      return value;
    };
    const applying = applyResponse(
      { header, nextPiece },
      {
        interner: new Interner(),
        retained: () => retained,
        unconfirmed: () => undefined,
        apply: (updates) => void applied.push(...updates),
        settled: () => {},
        notUnderstood: () => {},
      },
    );
    await assert.rejects(applying, /the thread ended/);
    assert.deepEqual([...retained.names()], ['Kubernetes//Pod/ns/a']);
    assert.equal(applied.length, 1);
  });
});
