import assert from 'node:assert/strict';
import { createHash, randomBytes } from 'node:crypto';
import type { ServerHttp2Stream } from 'node:http2';
import { createServer, type Socket } from 'node:net';
import { after, before, describe, test } from 'node:test';
import { type HboneServer, type Pod, serveHbone, serveWaypoint, serviceOf } from '@kmesh/lab';
import { uri } from '@kmesh/lab/testing/tunnel/authority.ts';
import { startTestMesh, type TestMesh } from '@kmesh/lab/testing/tunnel/mesh.ts';
import { connect, ending, listen, readAll, readExactly, until } from '@kmesh/lab/testing/tunnel/traffic.ts';
import { openListener, openNetworkNamespace } from '@kmesh/linux';

let mesh: TestMesh;

before(async () => {
  mesh = await startTestMesh({
    nodes: 2,
    settings: {
      pool: { releaseMilliseconds: 400 },
      http2: { pingIntervalMilliseconds: 250, pingTimeoutMilliseconds: 500 },
    },
  });
});
after(async () => {
  await mesh[Symbol.asyncDispose]();
});

/** A pod that speaks HBONE through the independent peer instead of our tunnel. */
async function peer(
  options: Omit<Parameters<typeof serveHbone>[1], 'identity'> = {},
): Promise<{ pod: Pod; server: HboneServer }> {
  const { pod, workload } = await mesh.pod({ node: 1, captured: false, workload: { protocol: 'HBONE' } });
  const server = mesh.own(await serveHbone(pod, { identity: mesh.authority.issue(workload), ...options }));
  return { pod, server };
}

async function echo(client: Pod, to: string, port = 8080, bindAddress?: string): Promise<void> {
  const socket = await connect(client, to, port, bindAddress === undefined ? {} : { bindAddress });
  socket.write('hello world');
  assert.equal((await readExactly(socket, 11)).toString(), 'hello world');
  const ended = readAll(socket).catch(() => undefined);
  socket.end();
  await ended;
  socket.destroy();
}

describe('HBONE connections and their pool', () => {
  test('HBN-01: two calls with one key share one TLS connection', async () => {
    const { pod: client } = await mesh.pod();
    const { pod, server } = await peer();
    await echo(client, pod.addresses.v4);
    await echo(client, pod.addresses.v4);
    assert.equal(server.connections.length, 1);
    assert.equal(server.requests.length, 2);
    const [, second] = server.requests;
    assert.deepEqual(
      second?.rawHeaders.filter((_, at) => at % 2 === 0),
      [':method', ':authority', 'baggage', 'forwarded', 'traceparent'],
    );
    assert.equal(second?.authority, `${pod.addresses.v4}:8080`);
    assert.match(String(second?.headers['forwarded']), new RegExp(`^for="${client.addresses.v4}:\\d+"$`));
    assert.match(String(second?.headers['traceparent']), /^00-[0-9a-f]{32}-[0-9a-f]{16}-00$/);
    assert.equal(
      second?.headers['baggage'],
      `k8s.cluster.name=Kubernetes,k8s.namespace.name=default,k8s.pod.name=${client.name},` +
        `service.name=${client.name},service.version=latest`,
    );
    server.close();
  });

  test('HBN-02: keys that differ in source IP, source identity, destination or its identities share nothing', async () => {
    const first = await mesh.pod();
    const second = await mesh.pod();
    const target = await peer();
    const other = await peer();
    await echo(first.pod, target.pod.addresses.v4);
    await first.pod.addAddress('10.1.200.9');
    await mesh.lab.nodes[0]?.run('ip', ['route', 'add', '10.1.200.9/32', 'via', first.pod.addresses.v4]);
    await echo(first.pod, target.pod.addresses.v4, 8080, '10.1.200.9');
    assert.equal(target.server.connections.length, 2, 'source IP');
    await echo(second.pod, target.pod.addresses.v4);
    assert.equal(target.server.connections.length, 3, 'source identity');
    await echo(first.pod, other.pod.addresses.v4);
    assert.equal(other.server.connections.length, 1, 'destination');
    const service = serviceOf({
      name: `san-${target.pod.name}`,
      vips: mesh.lab.serviceAddress(),
      ports: { 80: 8080 },
      subjectAltNames: ['spiffe://cluster.local/ns/default/sa/other'],
    });
    const workload = mesh.proxy(0).state.workload(`Kubernetes//Pod/default/${target.pod.name}`);
    assert.ok(workload);
    mesh.apply(service, {
      ...workload,
      services: new Map([[`${service.namespace}/${service.hostname}`, new Map([[80, 8080]])]]),
    });
    await echo(first.pod, service.vips[0]?.ip ?? '', 80);
    assert.equal(target.server.connections.length, 4, 'destination identities');
    assert.match(
      String(target.server.requests.at(-1)?.headers['forwarded']),
      new RegExp(`;host=${service.hostname}$`),
    );
    target.server.close();
    other.server.close();
  });

  test('HBN-03: 1000 concurrent calls need about ten connections of at most 100 streams', async () => {
    const { pod: client } = await mesh.pod();
    const { pod, server } = await peer({ maxConcurrentStreams: 1000 });
    const sockets = await Promise.all(
      Array.from({ length: 1000 }, () => connect(client, pod.addresses.v4, 8080)),
    );
    await Promise.all(
      sockets.map(async (socket) => {
        socket.write('hello world');
        await readExactly(socket, 11, 20_000);
      }),
    );
    assert.ok(server.maximumStreams <= 100, `${server.maximumStreams} streams on one connection`);
    assert.ok(
      server.connections.length >= 10 && server.connections.length <= 12,
      `${server.connections.length}`,
    );
    for (const socket of sockets) socket.destroy();
    // Full connections leave the pool for good and end with their last stream.
    await until(() => server.open <= 1);
    server.close();
  });

  test("HBN-04: the peer's limit of streams is respected", async () => {
    const { pod: client } = await mesh.pod();
    const { pod, server } = await peer({ maxConcurrentStreams: 10 });
    const sockets = await Promise.all(
      Array.from({ length: 35 }, () => connect(client, pod.addresses.v4, 8080)),
    );
    await Promise.all(
      sockets.map(async (socket) => {
        socket.write('hello world');
        await readExactly(socket, 11);
      }),
    );
    assert.ok(server.maximumStreams <= 10, `${server.maximumStreams}`);
    assert.equal(server.connections.length, 4);
    for (const socket of sockets) socket.destroy();
    server.close();
  });

  test('HBN-05: an idle connection is released, one with a stream only when that ends', async () => {
    const { pod: client } = await mesh.pod();
    const { pod, server } = await peer();
    await echo(client, pod.addresses.v4);
    assert.equal(server.open, 1);
    await until(() => server.open === 0, 3_000);
    const socket = await connect(client, pod.addresses.v4, 8080);
    socket.write('hello world');
    await readExactly(socket, 11);
    // A connection that is idle from now on is released in between.
    const other = await peer();
    await echo(client, other.pod.addresses.v4);
    await until(() => other.server.open === 0, 3_000);
    assert.equal(server.open, 1, 'kept for its stream');
    other.server.close();
    socket.write('hello again');
    await readExactly(socket, 11);
    socket.destroy();
    await until(() => server.open === 0, 3_000);
    server.close();
  });

  test('HBN-06: after GOAWAY open streams finish and new ones use another connection', async () => {
    const { pod: client } = await mesh.pod();
    const { pod, server } = await peer();
    const running = await connect(client, pod.addresses.v4, 8080);
    running.write('hello world');
    await readExactly(running, 11);
    await until(() => server.connections.length === 1);
    // The answer to a later message proves that this one was read.
    for (const session of server.sessions) {
      session.goaway(0);
      await new Promise((resolve) => session.ping(resolve));
    }
    await echo(client, pod.addresses.v4);
    assert.equal(server.connections.length, 2);
    running.write('still there');
    assert.equal((await readExactly(running, 11)).toString(), 'still there');
    running.destroy();
    server.close();
  });

  test('HBN-07: a peer that stops answering PING is dropped and its streams fail', async () => {
    const { pod: client } = await mesh.pod();
    const { pod, server } = await peer();
    const running = await connect(client, pod.addresses.v4, 8080);
    running.write('hello world');
    await readExactly(running, 11);
    await pod.run('iptables', ['-A', 'INPUT', '-p', 'tcp', '--dport', '15008', '-j', 'DROP']);
    const began = performance.now();
    assert.equal(await ending(running, 5_000), 'reset');
    assert.ok(performance.now() - began >= 400, 'not before the time-out');
    const record = await mesh.records.wait(() =>
      mesh.records.connections.find(
        ({ start, end }) => start.destination?.name === pod.name && end !== undefined,
      ),
    );
    assert.equal(record.end?.flag, 'CONNECT');
    server.close();
  });

  test('HBN-08: a stream that is not read blocks no other stream of its connection', async () => {
    const { pod: client } = await mesh.pod();
    let unread: ServerHttp2Stream | undefined;
    const { pod, server } = await peer({
      onRequest: ({ stream }) => {
        stream.respond({ ':status': 200 });
        if (unread === undefined) {
          unread = stream;
          stream.pause();
        } else stream.pipe(stream);
      },
    });
    const stalled = await connect(client, pod.addresses.v4, 8080);
    stalled.write(Buffer.alloc(24 << 20));
    // Many bytes wait for a reader.
    await until(() => (unread?.readableLength ?? 0) >= 65_536);
    await echo(client, pod.addresses.v4);
    assert.equal(server.connections.length, 1);
    stalled.destroy();
    server.close();
  });

  test('HBN-09: a gibibyte each way in random chunks arrives unchanged', { timeout: 60_000 }, async () => {
    const { pod: client } = await mesh.pod({ node: 0 });
    const { pod: server } = await mesh.pod({ node: 1 });
    const total = Number(process.env['KMESH_TEST_BYTES'] ?? 1 << 30);
    const block = randomBytes(1 << 20);
    const send = async (socket: Socket): Promise<string> => {
      const hash = createHash('sha1');
      for (let sent = 0; sent < total; ) {
        const from = Math.floor(Math.random() * (1 << 19));
        const chunk = block.subarray(
          from,
          from + Math.min(1 + Math.floor(Math.random() * (1 << 19)), total - sent),
        );
        hash.update(chunk);
        sent += chunk.length;
        if (!socket.write(chunk)) await new Promise((resolve) => socket.once('drain', resolve));
      }
      socket.end();
      return hash.digest('hex');
    };
    const receive = (socket: Socket): Promise<string> => {
      const hash = createHash('sha1');
      socket.on('data', (chunk: Buffer) => hash.update(chunk));
      return new Promise((resolve, reject) => {
        socket.once('end', () => resolve(hash.digest('hex')));
        socket.once('error', reject);
      });
    };
    const served = Promise.withResolvers<[string, string]>();
    const listening = await listen(server, 8080, (socket) => {
      Promise.all([receive(socket), send(socket)]).then(served.resolve, served.reject);
    });
    const socket = await connect(client, server.addresses.v4, 8080);
    const [received, sent] = await Promise.all([receive(socket), send(socket)]);
    const [serverReceived, serverSent] = await served.promise;
    assert.equal(serverReceived, sent);
    assert.equal(received, serverSent);
    listening.close();
    socket.destroy();
  });

  test('HBN-10: a half-close becomes END_STREAM, and the reply still arrives', async () => {
    const { pod: client } = await mesh.pod();
    const halfAnswered = Promise.withResolvers<void>();
    const { pod, server } = await peer({
      onRequest: ({ stream }) => {
        stream.respond({ ':status': 200 });
        stream.resume();
        stream.on('end', async () => {
          stream.write('good');
          await halfAnswered.promise;
          stream.end('bye');
        });
      },
    });
    const socket = await connect(client, pod.addresses.v4, 8080);
    socket.end('question');
    assert.equal((await readExactly(socket, 4)).toString(), 'good');
    halfAnswered.resolve();
    assert.equal((await readAll(socket)).toString(), 'bye');
    server.close();
  });

  test('HBN-11: a reset by the application resets its stream and no other', async () => {
    const { pod: client } = await mesh.pod();
    const { pod, server } = await peer();
    const kept = await connect(client, pod.addresses.v4, 8080);
    kept.write('hello world');
    await readExactly(kept, 11);
    const dying = await connect(client, pod.addresses.v4, 8080);
    dying.write('hello world');
    await readExactly(dying, 11);
    const stream = server.requests[1]?.stream;
    const closed = new Promise<void>((resolve) => stream?.once('close', () => resolve()));
    dying.resetAndDestroy();
    await closed;
    assert.notEqual(stream?.rstCode, 0);
    kept.write('hello again');
    await readExactly(kept, 11);
    // In the other direction the peer's reset reaches the application as a reset.
    server.requests[0]?.stream.destroy(new Error('the application died'));
    assert.equal(await ending(kept), 'reset');
    assert.equal(server.connections.length, 1);
    server.close();
  });

  test('HBN-12: many clients and sources are not mixed up, and the pool is empty at the end', async () => {
    const sources = await Promise.all([mesh.pod(), mesh.pod(), mesh.pod()]);
    const targets = await Promise.all([peer(), peer()]);
    const call = async (round: number): Promise<void> => {
      const source = sources[round % sources.length];
      const target = targets[round % targets.length];
      if (source === undefined || target === undefined) return;
      await new Promise((resolve) => setTimeout(resolve, Math.random() * 200));
      const socket = await connect(source.pod, target.pod.addresses.v4, 8080);
      const mark = Buffer.from(`call ${round} from ${source.pod.name};`.padEnd(64));
      for (let turn = 0; turn < 5; turn++) {
        socket.write(mark);
        assert.deepEqual(await readExactly(socket, 64), mark);
      }
      if (round % 3 === 0) socket.resetAndDestroy();
      else socket.destroy();
    };
    await Promise.all(Array.from({ length: 200 }, (_, round) => call(round)));
    await until(() => targets.every(({ server }) => server.open === 0), 5_000);
    await until(() => mesh.proxy(0).tunnel.sessionCount === 0, 5_000);
    for (const { server } of targets) server.close();
  });

  test('HBN-13: odd buffer sizes and partial reads lose nothing', async () => {
    const { pod: client } = await mesh.pod({ node: 0 });
    const { pod: server } = await mesh.pod({ node: 1 });
    const listening = await listen(server, 8080, (socket) => socket.pipe(socket));
    const socket = await connect(client, server.addresses.v4, 8080);
    const sent = randomBytes(600_011);
    const all = readExactly(socket, sent.length, 10_000);
    for (let at = 0, size = 1; at < sent.length; size = (size * 7 + 3) % 16_411) {
      socket.write(sent.subarray(at, at + size));
      at += size;
      if (size % 5 === 0) await new Promise((resolve) => setImmediate(resolve));
      if (size % 31 === 0) {
        socket.pause();
        setTimeout(() => socket.resume(), 1);
      }
    }
    assert.deepEqual(await all, sent);
    socket.destroy();
    listening.close();
  });

  test('HBN-14: TLS 1.3, ALPN h2, no SNI, and the suites of the contract', async () => {
    const { pod: client } = await mesh.pod();
    const { pod, server } = await peer();
    await echo(client, pod.addresses.v4);
    const [tls] = server.connections;
    assert.equal(tls?.getProtocol(), 'TLSv1.3');
    assert.equal(tls?.alpnProtocol, 'h2');
    assert.equal(tls?.getCipher().standardName, 'TLS_AES_256_GCM_SHA384');
    assert.match(
      server.requests[0]?.clientNames ?? '',
      new RegExp(`URI:spiffe://cluster.local/ns/default/sa/sa-${client.name}`),
    );
    server.close();

    const { pod: raw } = await mesh.pod({ node: 1, captured: false, workload: { protocol: 'HBONE' } });
    using namespace = openNetworkNamespace(raw.namespacePath);
    const hello = Promise.withResolvers<Buffer>();
    const listener = createServer((socket) => {
      socket.on('error', () => undefined);
      socket.once('data', (chunk) => {
        hello.resolve(chunk as Buffer);
        socket.destroy();
      });
    }).listen({ fd: openListener({ namespace, address: '::', port: 15008 }) });
    const socket = await connect(client, raw.addresses.v4, 8080);
    const { suites, extensions } = readClientHello(await hello.promise);
    assert.deepEqual(suites, [0x1302, 0x1301]);
    assert.equal(extensions.has(0), false, 'no server_name');
    assert.equal(extensions.has(41), false, 'no resumption');
    assert.equal(extensions.get(16)?.toString('hex'), '0003026832');
    assert.equal(await ending(socket), 'end');
    listener.close();
  });

  test('HBN-18, OUT-27: two tunnels to one remote service share the outer connection, not the inner ones', async () => {
    const { pod: client } = await mesh.pod();
    const remote = await peer();
    const gateway = await mesh.pod({
      node: 1,
      captured: false,
      workload: { protocol: 'HBONE', network: 'far' },
    });
    const outer = await serveWaypoint(gateway.pod, {
      identity: mesh.authority.issue(gateway.workload),
      route: () => ({ ip: remote.pod.addresses.v4, port: 15008 }),
    });
    const service = serviceOf({
      name: 'remote',
      vips: mesh.lab.serviceAddress(),
      ports: { 8080: 8080 },
      subjectAltNames: [
        uri({
          trustDomain: 'cluster.local',
          namespace: 'default',
          serviceAccount: remote.pod.serviceAccount,
        }),
      ],
    });
    const key = `${service.namespace}/${service.hostname}`;
    mesh.apply(service, {
      ...gateway.workload,
      uid: 'far/SplitHorizon/remote',
      name: 'remote',
      addresses: [],
      network: 'far',
      services: new Map([[key, new Map([[8080, 8080]])]]),
      networkGateway: {
        destination: { kind: 'address', network: 'far', ip: gateway.pod.addresses.v4 },
        hboneMtlsPort: 15008,
      },
    });
    const vip = service.vips[0]?.ip ?? '';
    const open = await Promise.all([connect(client, vip, 8080), connect(client, vip, 8080)]);
    for (const socket of open) {
      socket.write('hello world');
      await readExactly(socket, 11);
    }
    assert.equal(outer.connections.length, 1, 'one outer connection');
    assert.equal(remote.server.connections.length, 2, 'an inner one each');
    assert.equal(outer.requests[0]?.authority, `${service.hostname}:8080`);
    assert.equal(outer.requests[0]?.headers['x-forwarded-network'], undefined);
    assert.equal(remote.server.requests[0]?.authority, `${service.hostname}:8080`);
    assert.equal(remote.server.requests[0]?.headers['x-forwarded-network'], '');
    for (const socket of open) socket.destroy();
    await until(() => remote.server.open === 0);
    outer.close();
    remote.server.close();
  });
});

function readClientHello(record: Buffer): { suites: number[]; extensions: Map<number, Buffer> } {
  let at = 5 + 4 + 2 + 32;
  at += 1 + record.readUInt8(at);
  const length = record.readUInt16BE(at);
  at += 2;
  const suites = Array.from({ length: length / 2 }, (_, index) => record.readUInt16BE(at + 2 * index)).filter(
    (suite) => suite !== 0x00ff,
  );
  at += length;
  at += 1 + record.readUInt8(at);
  const end = at + 2 + record.readUInt16BE(at);
  at += 2;
  const extensions = new Map<number, Buffer>();
  while (at + 4 <= end && at + 4 <= record.length) {
    const size = record.readUInt16BE(at + 2);
    extensions.set(record.readUInt16BE(at), record.subarray(at + 4, at + 4 + size));
    at += 4 + size;
  }
  return { suites, extensions };
}
