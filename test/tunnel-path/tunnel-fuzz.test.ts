import assert from 'node:assert/strict';
import { createHash, randomBytes, randomInt } from 'node:crypto';
import { after, before, describe, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { createServer as createTlsServer, type TLSSocket } from 'node:tls';
import type { Workload } from '@kmesh/api';
import { ZdsClient } from '@kmesh/controller';
import { frameBytes, number32, openHbone, openPeerTls, type Pod, startFakeCniAgent } from '@kmesh/lab';
import { startTestMesh, type TestMesh } from '@kmesh/lab/testing/tunnel/mesh.ts';
import {
  connect,
  doubleEcho,
  ending,
  hello,
  type Listening,
  listen,
  until,
} from '@kmesh/lab/testing/tunnel/traffic.ts';
import { openListener, openNetworkNamespace } from '@kmesh/linux';
import { proxyHeader } from '@kmesh/tunnel';

// For a long run: `KMESH_FUZZ_SECONDS=600 npm run test:e2e -- tunnel-fuzz`.
const SECONDS = Number(process.env['KMESH_FUZZ_SECONDS'] ?? 1.5);
const PREFACE = Buffer.from('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n');

let mesh: TestMesh;
let client: { pod: Pod; workload: Workload };
let server: { pod: Pod; workload: Workload };
let application: Listening;

before(async () => {
  mesh = await startTestMesh({ nodes: 1 });
  client = await mesh.pod({ captured: false });
  server = await mesh.pod();
  application = mesh.own(await listen(server.pod, 8080, doubleEcho));
});
after(async () => {
  await mesh[Symbol.asyncDispose]();
});

const settings = frameBytes(4, 0, 0);

/** A header block without indexing or compression. */
function block(...fields: [string, string][]): Buffer {
  const text = (value: string): Buffer => {
    const bytes = Buffer.from(value, 'latin1');
    assert.ok(bytes.length < 127 || bytes.length < 127 + 128 * 128);
    if (bytes.length < 127) return Buffer.concat([Buffer.from([bytes.length]), bytes]);
    const rest = bytes.length - 127;
    return Buffer.concat([Buffer.from([127, (rest & 127) | 128, rest >> 7]), bytes]);
  };
  return Buffer.concat(fields.flatMap(([name, value]) => [Buffer.from([0]), text(name), text(value)]));
}

/** Header blocks of valid and invalid answers of a server. */
const answers: readonly (() => Buffer)[] = [
  () => Buffer.from([0x88]),
  () => Buffer.from([0x88]),
  () => block([':status', '503']),
  () => block([':status', '100']),
  () => block([':status', '200'], ['baggage', 'k8s.namespace.name=a']),
  () => block(['trailer', 'x']),
  () => randomBytes(randomInt(20)),
];

/** A valid frame, on a stream that may be the right one. */
function plausible(role: 'client' | 'server', newest: number): Buffer {
  const stream = randomInt(8) === 0 ? randomInt(2 ** 31) : 1 + 2 * randomInt((newest >> 1) + 2);
  const headers = role === 'client' ? connectBlock() : (answers[randomInt(answers.length)] ?? connectBlock)();
  const code = number32([0, 2, 5, 7, 8, 10, 0xffffffff][randomInt(7)] ?? 0);
  switch (randomInt(12)) {
    case 0:
    case 1:
      return frameBytes(1, 4 | randomInt(2), stream, headers);
    case 2: {
      const at = randomInt(headers.length + 1);
      return Buffer.concat([
        frameBytes(1, randomInt(2), stream, headers.subarray(0, at)),
        frameBytes(9, 4, stream, headers.subarray(at)),
      ]);
    }
    case 3:
    case 4:
    case 5:
      return frameBytes(
        0,
        randomInt(2),
        stream,
        randomBytes(randomInt(4) === 0 ? randomInt(16_384) : randomInt(40)),
      );
    case 6: {
      const padding = randomInt(256);
      return frameBytes(
        0,
        8 | randomInt(2),
        stream,
        Buffer.concat([Buffer.from([padding]), randomBytes(randomInt(600))]),
      );
    }
    case 7:
      return frameBytes(3, 0, stream, code);
    case 8:
      return frameBytes(
        8,
        0,
        randomInt(2) * stream,
        number32(randomInt(4) === 0 ? randomInt(2 ** 31) : randomInt(70_000)),
      );
    case 9: {
      const entry = Buffer.concat([Buffer.from([0, randomInt(1, 9)]), number32(randomInt(2 ** 32))]);
      return frameBytes(4, randomInt(8) === 0 ? 1 : 0, 0, randomInt(3) === 0 ? entry : Buffer.alloc(0));
    }
    case 10:
      return frameBytes(6, randomInt(2), 0, randomBytes(8));
    default:
      return randomInt(6) === 0
        ? frameBytes(7, 0, 0, Buffer.concat([number32(randomInt(2) === 0 ? 0x7fffffff : newest), code]))
        : frameBytes(2, 0, stream, randomBytes(5));
  }
}

/** Sends valid frames for a while, in pieces of any size, sometimes with a wrong bit, and ends in any way. */
async function converse(tls: TLSSocket, role: 'client' | 'server'): Promise<void> {
  const parts: Buffer[] = role === 'client' ? [PREFACE, settings] : [settings];
  let newest = -1;
  for (let count = randomInt(1, 60); count > 0; count--) {
    if (role === 'client' && randomInt(4) === 0) {
      newest += 2;
      parts.push(frameBytes(1, 4 | (randomInt(6) === 0 ? 1 : 0), newest, connectBlock()));
    }
    parts.push(plausible(role, Math.max(1, newest)));
  }
  const bytes = Buffer.concat(parts);
  if (randomInt(3) === 0) bytes[randomInt(bytes.length)] = randomInt(256);
  for (let at = 0; at < bytes.length && !tls.destroyed; ) {
    const size = randomInt(3) === 0 ? randomInt(1, 100) : bytes.length;
    tls.write(bytes.subarray(at, at + size));
    at += size;
    if (randomInt(4) === 0) await sleep(1);
  }
  await sleep(randomInt(6));
  if (randomInt(2) === 0) tls.end();
  else tls.destroy();
}

const connectBlock = (): Buffer =>
  block([':method', 'CONNECT'], [':authority', `${server.pod.addresses.v4}:8080`]);

async function raw(): Promise<{ tls: TLSSocket; closed: () => boolean; received: () => Buffer }> {
  const socket = await connect(client.pod, server.pod.addresses.v4, 15008);
  const tls = await openPeerTls(socket, { identity: mesh.authority.issue(client.workload) });
  let closed = false;
  const chunks: Buffer[] = [];
  tls.on('close', () => (closed = true));
  tls.on('end', () => (closed = true));
  tls.on('data', (chunk: Buffer) => chunks.push(chunk));
  return { tls, closed: () => closed, received: () => Buffer.concat(chunks) };
}

/** Asserts that the proxy runs and serves a regular client. */
async function healthy(): Promise<void> {
  const meshed = await mesh.pod();
  assert.equal(await hello(meshed.pod, server.pod.addresses.v4, 8080), 'hello worldhello world');
  mesh.proxy(0).tunnel.removePod(meshed.pod.uid);
}

/** Types of the received frames, and the error code of a GOAWAY. */
function framesOf(bytes: Buffer): { types: number[]; goaway: number | undefined } {
  const types: number[] = [];
  let goaway: number | undefined;
  for (let at = 0; at + 9 <= bytes.length; ) {
    const length = bytes.readUIntBE(at, 3);
    const type = bytes[at + 3] ?? 0;
    types.push(type);
    if (type === 7 && length >= 8) goaway = bytes.readUInt32BE(at + 13);
    at += 9 + length;
  }
  return { types, goaway };
}

const PING = Buffer.from('at last!');

describe('hostile HTTP/2 clients', () => {
  const attacks: [string, () => Buffer, number | 'any' | 'alive'][] = [
    ['no preface', () => randomBytes(64), 'any'],
    [
      'a frame larger than allowed',
      () => Buffer.concat([PREFACE, settings, Buffer.from('ffffff000000000001', 'hex')]),
      6,
    ],
    ['DATA on stream 0', () => Buffer.concat([PREFACE, settings, frameBytes(0, 0, 0, Buffer.from('x'))]), 1],
    [
      'HEADERS on an even stream',
      () => Buffer.concat([PREFACE, settings, frameBytes(1, 4, 2, connectBlock())]),
      1,
    ],
    [
      'a broken header block',
      () => Buffer.concat([PREFACE, settings, frameBytes(1, 4, 1, Buffer.from('ffffffffffffff', 'hex'))]),
      9,
    ],
    [
      'CONTINUATION without HEADERS',
      () => Buffer.concat([PREFACE, settings, frameBytes(9, 4, 1, Buffer.alloc(4))]),
      1,
    ],
    [
      'a window that overflows',
      () => Buffer.concat([PREFACE, settings, frameBytes(8, 0, 0, Buffer.from('7fffffff', 'hex'))]),
      3,
    ],
    ['SETTINGS of a wrong size', () => Buffer.concat([PREFACE, frameBytes(4, 0, 0, Buffer.alloc(5))]), 6],
    [
      'PUSH_PROMISE from a client',
      () => Buffer.concat([PREFACE, settings, frameBytes(5, 4, 1, Buffer.alloc(8))]),
      1,
    ],
    [
      'a flood of CONTINUATION',
      () => {
        const parts = [PREFACE, settings, frameBytes(1, 0, 1, block([':method', 'CONNECT']))];
        for (let index = 0; index < 10_000; index++) parts.push(frameBytes(9, 0, 1, block(['a', 'b'])));
        return Buffer.concat(parts);
      },
      'any',
    ],
    [
      'rapid reset',
      () => {
        const parts = [PREFACE, settings];
        for (let stream = 1; stream < 20_000; stream += 2) {
          parts.push(
            frameBytes(1, 4, stream, connectBlock()),
            frameBytes(3, 0, stream, Buffer.from('00000008', 'hex')),
          );
        }
        return Buffer.concat(parts);
      },
      'any',
    ],
    [
      'a flood of SETTINGS',
      () => Buffer.concat([PREFACE, ...Array.from({ length: 30_000 }, () => settings)]),
      'any',
    ],
    [
      'a flood of PING',
      () =>
        Buffer.concat([
          PREFACE,
          settings,
          ...Array.from({ length: 30_000 }, () => frameBytes(6, 0, 0, Buffer.alloc(8))),
        ]),
      'any',
    ],
    [
      'a flood of WINDOW_UPDATE',
      () => {
        const update = frameBytes(8, 0, 0, Buffer.from('00000001', 'hex'));
        return Buffer.concat([PREFACE, settings, ...Array.from({ length: 30_000 }, () => update)]);
      },
      11,
    ],
    [
      'a flood of answers to no PING',
      () => {
        const pong = frameBytes(6, 1, 0, Buffer.alloc(8));
        return Buffer.concat([PREFACE, settings, ...Array.from({ length: 30_000 }, () => pong)]);
      },
      11,
    ],
    [
      'a flood of empty DATA',
      () => {
        const parts = [PREFACE, settings, frameBytes(1, 4, 1, connectBlock())];
        const [empty, padded] = [
          frameBytes(0, 0, 1, Buffer.alloc(0)),
          frameBytes(0, 8, 1, Buffer.from([3, 0, 0, 0])),
        ];
        for (let index = 0; index < 15_000; index++) parts.push(empty, padded);
        return Buffer.concat(parts);
      },
      11,
    ],
    [
      'a header list beyond its limit',
      () => {
        const large = block(
          [':method', 'CONNECT'],
          [':authority', 'x:1'],
          ...Array.from({ length: 8 }, (_, at) => [`h${at}`, 'v'.repeat(12_000)] as [string, string]),
        );
        return Buffer.concat([PREFACE, settings, frameBytes(1, 4, 1, large)]);
      },
      'any',
    ],
    [
      'two hundred streams and one more',
      () => {
        const parts = [PREFACE, settings];
        for (let stream = 1; stream <= 601; stream += 2) parts.push(frameBytes(1, 4, stream, connectBlock()));
        return Buffer.concat(parts);
      },
      'any',
    ],
  ];

  for (const [what, make, expected] of attacks) {
    test(`ROB-01: ${what} ends with the right error and affects no other client`, async () => {
      const before = application.seen.bytes;
      const { tls, closed, received } = await raw();
      tls.write(make());
      if (typeof expected === 'number') {
        await until(closed);
        assert.equal(framesOf(received()).goaway, expected);
      } else {
        // Waits until the connection ends, or an answer proves that all bytes were read.
        tls.write(frameBytes(6, 0, 0, PING));
        await until(() => closed() || received().includes(frameBytes(6, 1, 0, PING)), 20_000);
      }
      tls.destroy();
      assert.equal(application.seen.bytes, before, 'nothing reached the application');
      await healthy();
    });
  }

  test('ROB-01: random frames neither crash nor hang the proxy, and bypass nothing', {
    timeout: SECONDS * 2000 + 20_000,
  }, async () => {
    mesh.apply({
      kind: 'policy',
      policy: {
        name: 'none',
        namespace: 'default',
        scope: 'Namespace',
        action: 'Deny',
        rules: [[]],
        dryRun: false,
      },
    });
    const before = { ...application.seen };
    const until = performance.now() + SECONDS * 1000;
    let runs = 0;
    while (performance.now() < until) {
      runs += 1;
      const { tls } = await raw();
      const parts: Buffer[] = [PREFACE, settings];
      for (let index = randomInt(1, 40); index > 0; index--) {
        const payload =
          randomInt(3) === 0
            ? connectBlock()
            : randomBytes(randomInt(5) === 0 ? randomInt(20_000) : randomInt(32));
        parts.push(
          frameBytes(
            randomInt(12),
            randomInt(256),
            randomInt(3) === 0 ? randomInt(2 ** 31) : randomInt(8),
            payload,
          ),
        );
      }
      const bytes = Buffer.concat(parts);
      for (let flips = randomInt(4); flips > 0; flips--) bytes[randomInt(bytes.length)] = randomInt(256);
      tls.write(bytes);
      await sleep(5);
      tls.destroy();
    }
    assert.ok(runs > 20, `${runs} runs`);
    assert.deepEqual(application.seen.connections, before.connections);
    mesh.apply({ kind: 'removePolicy', key: 'default/none' });
    await healthy();
  });

  test('ROB-01: clients that send valid frames in any order neither crash nor hang the proxy', {
    timeout: SECONDS * 2000 + 20_000,
  }, async () => {
    const limit = performance.now() + SECONDS * 1000;
    let runs = 0;
    const lane = async (): Promise<void> => {
      while (performance.now() < limit) {
        await converse((await raw()).tls, 'client');
        runs += 1;
      }
    };
    await Promise.all([lane(), lane(), lane()]);
    assert.ok(runs > 20, `${runs} runs`);
    await healthy();
  });

  test('ROB-01: random headers never fail a request that policy and authority allow, nor admit another', {
    timeout: SECONDS * 2000 + 20_000,
  }, async () => {
    const until = performance.now() + SECONDS * 1000;
    const good = `${server.pod.addresses.v4}:8080`;
    const open = async () =>
      await openHbone(await connect(client.pod, server.pod.addresses.v4, 15008), {
        identity: mesh.authority.issue(client.workload),
      });
    let socket = await open();
    const visible = (length: number): string =>
      Array.from({ length }, () => String.fromCharCode(randomInt(0x21, 0x7f))).join('');
    for (let round = 1; performance.now() < until; round++) {
      const headers = {
        baggage: visible(randomInt(400)),
        forwarded: `for=${visible(randomInt(40))};host=${visible(randomInt(60))}`,
        traceparent: visible(randomInt(60)),
        'x-forwarded-network': visible(randomInt(20)),
      };
      const answer = await socket.request(good, headers);
      assert.equal(answer.status, 200, JSON.stringify(headers));
      answer.stream.close(8);
      const odd = visible(randomInt(1, 60)).replaceAll(/[@/\\?#]/g, 'x');
      const refused = await socket.request(odd).then(
        ({ status, stream }) => {
          stream.close(8);
          return status;
        },
        () => 0,
      );
      assert.ok(refused === 0 || refused === 400 || refused === 503, `${odd}: ${refused}`);
      // A peer with a thousand malformed requests and resets is disconnected.
      if (round % 200 === 0) {
        socket.close();
        socket = await open();
      }
    }
    socket.close();
    await healthy();
  });
});

describe('requests that differ in every value', () => {
  test('ROB-01: each is decided by its own authority, after any number of earlier values', {
    timeout: 60_000,
  }, async () => {
    const socket = await openHbone(await connect(client.pod, server.pod.addresses.v4, 15008), {
      identity: mesh.authority.issue(client.workload),
    });
    // The engine caches 4,096 texts; these are 6,000.
    for (let round = 0; round < 100; round++) {
      const answers = await Promise.all(
        Array.from({ length: 24 }, async (_, index) => {
          const good = index % 2 === 0;
          const text = (what: string): string => `${what}-${round}-${index}`;
          const headers = { baggage: `${text('a')}=1`, 'x-forwarded-network': text('n') };
          const authority = good ? `${server.pod.addresses.v4}:8080` : `10.${round}.7.${index}:8080`;
          const { status, stream } = await socket.request(authority, headers);
          stream.close(8);
          return { good, status };
        }),
      );
      for (const { good, status } of answers) assert.equal(status, good ? 200 : 400);
    }
    socket.close();
  });
});

describe('hostile HTTP/2 servers', () => {
  test('ROB-01: a server with invalid answers fails only its caller', {
    timeout: SECONDS * 2000 + 60_000,
  }, async () => {
    const hostile = await mesh.pod({ captured: false, workload: { protocol: 'HBONE' } });
    const identity = mesh.authority.issue(hostile.workload);
    using namespace = openNetworkNamespace(hostile.pod.namespacePath);
    const listener = createTlsServer(
      {
        cert: identity.certificateChainPem,
        key: identity.privateKeyPem,
        ca: [...identity.rootsPem],
        requestCert: true,
        ALPNProtocols: ['h2'],
        minVersion: 'TLSv1.3',
      },
      (socket) => {
        socket.on('error', () => undefined);
        const choice = randomInt(8);
        if (choice >= 4) {
          void converse(socket, 'server');
          return;
        }
        if (choice > 0) socket.write(settings);
        socket.once('data', () => {
          if (choice === 0) socket.write(randomBytes(200));
          else if (choice === 1) socket.write(frameBytes(1, 4, 1, randomBytes(20)));
          else if (choice === 2) socket.write(frameBytes(1, 4, 1, block([':status', '500'])));
          else
            for (let index = 0; index < 20; index++)
              socket.write(frameBytes(randomInt(12), randomInt(256), 1, randomBytes(30)));
          setTimeout(() => socket.destroy(), 20);
        });
      },
    );
    listener.on('tlsClientError', () => undefined);
    mesh.own(listener);
    const fd = openListener({ namespace, address: '::', port: 15008 });
    await new Promise<void>((resolve) => listener.listen({ fd }, resolve));
    const caller = await mesh.pod();
    const limit = performance.now() + SECONDS * 1000;
    const lane = async (): Promise<void> => {
      for (let run = 0; run < 15 || performance.now() < limit; run++) {
        // Frames before the end are not checked.
        const socket = await connect(caller.pod, hostile.pod.addresses.v4, 8080).catch(() => undefined);
        if (socket === undefined) continue;
        socket.write('GET / HTTP/1.1\r\n\r\n');
        assert.notEqual(await ending(socket, 5_000), 'open');
        socket.destroy();
      }
    };
    await Promise.all([lane(), lane(), lane()]);
    await healthy();
  });
});

describe('hostile ZDS servers and PROXY headers', () => {
  test('ROB-01: random packets are answered or end the connection; nothing crashes', {
    timeout: SECONDS * 2000 + 20_000,
  }, async () => {
    const agent = mesh.own(
      startFakeCniAgent(mesh.lab, { redirect: false }) as never as { close(): void },
    ) as never as ReturnType<typeof startFakeCniAgent>;
    const { tunnel, logger } = mesh.proxy(0);
    const client = mesh.own(
      new ZdsClient({
        path: agent.path,
        pods: tunnel,
        logger,
        firstBackoffMilliseconds: 1,
        maximumBackoffMilliseconds: 20,
        onReady: () => undefined,
        onProtocolError: () => undefined,
      }),
    );
    client.start();
    const until = performance.now() + Math.min(SECONDS, 20) * 1000;
    let connection = await agent.whenReady();
    let packets = 0;
    while (performance.now() < until) {
      packets += 1;
      const bytes = randomBytes(randomInt(1, 64));
      if (randomInt(2) === 0) bytes[0] = [0x0a, 0x12, 0x1a, 0x2a][randomInt(4)] ?? 0;
      await connection.requestBytes(bytes).catch(() => undefined);
      await Promise.race([connection.closed, sleep(1)]);
      if (connection.reason !== undefined) {
        while (agent.ready.length === 0 && performance.now() < until + 3_000) await sleep(10);
        connection = agent.ready.at(-1) ?? connection;
      }
    }
    assert.ok(packets > 3);
    client.close();
    await agent.close();
    await healthy();
  });

  test('ROB-01: PROXY headers are decoded as written, and impossible ones refused', () => {
    for (let run = 0; run < 500; run++) {
      const wide = randomInt(2) === 1;
      const ip = (): string =>
        wide
          ? Array.from({ length: 8 }, () => randomInt(0x1_0000).toString(16)).join(':')
          : Array.from({ length: 4 }, () => randomInt(256)).join('.');
      const [source, destination] = [
        { ip: ip(), port: randomInt(65_536) },
        { ip: ip(), port: randomInt(65_536) },
      ];
      const identity =
        randomInt(3) === 0 ? undefined : `spiffe://${createHash('sha1').update(`${run}`).digest('hex')}`;
      const header = proxyHeader(source, destination, identity);
      assert.equal(header.length, 16 + header.readUInt16BE(14));
      const size = header[13] === 0x21 ? 16 : 4;
      assert.equal(header.readUInt16BE(16 + 2 * size), source.port);
      assert.equal(header.readUInt16BE(18 + 2 * size), destination.port);
      if (size === 4) assert.equal([...header.subarray(16, 20)].join('.'), source.ip);
      const tlv = header.subarray(20 + 2 * size);
      assert.equal(tlv.length === 0 ? undefined : tlv.subarray(3).toString(), identity);
    }
    assert.throws(
      () => proxyHeader({ ip: 'nonsense', port: 1 }, { ip: '1.2.3.4', port: 1 }, undefined),
      /nonsense/,
    );
    assert.throws(
      () => proxyHeader({ ip: '1.2.3.4', port: 1 }, { ip: '1.2.3.4', port: 1 }, 'x'.repeat(3000)),
      /2048/,
    );
  });
});
