import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { readdirSync, readFileSync } from 'node:fs';
import { createServer, type Socket } from 'node:net';
import { after, before, describe, test } from 'node:test';
import { eventually } from '@kmesh/api/testing';
import {
  type FrameConnection,
  type FrameStream,
  http2Code,
  openRudeClient,
  type Pod,
  type RudeWaypoint,
  serveRudeWaypoint,
} from '@kmesh/lab';
import { startTestMesh, type TestMesh } from '@kmesh/lab/testing/tunnel/mesh.ts';
import type { Recorded } from '@kmesh/lab/testing/tunnel/recorder.ts';
import { connect, listen } from '@kmesh/lab/testing/tunnel/traffic.ts';
import { listTcpSockets, openListener, openNetworkNamespace } from '@kmesh/linux';

// Every row of docs/endings.md, by its id.

let mesh: TestMesh;
let client: Pod;
let server: Pod;
let outside: Pod;
let waypoint: { pod: Pod; server: RudeWaypoint };
/** Actions of the row's scripts on the next request and the next accepted socket. */
let onStream: (stream: FrameStream) => void | Promise<void>;
let onAccept: (socket: Socket) => void;

const large = randomBytes(400_000);
const tested = new Set<string>();

before(async () => {
  mesh = await startTestMesh({ nodes: 2, settings: { stallMilliseconds: 1_500 } });
  client = (await mesh.pod()).pod;
  server = (await mesh.pod({ node: 1 })).pod;
  outside = (await mesh.pod({ captured: false })).pod;
  const rude = await mesh.pod({ node: 1, captured: false, workload: { protocol: 'HBONE' } });
  const identity = mesh.authority.issue(rude.workload);
  const made = await serveRudeWaypoint(rude.pod, {
    identity,
    onStream: (stream) => void Promise.resolve(onStream(stream)).catch(() => undefined),
  });
  waypoint = { pod: rude.pod, server: mesh.own(made) };
  // No byte is read before the row reads.
  using namespace = openNetworkNamespace(server.namespacePath);
  const listener = createServer({ allowHalfOpen: true, pauseOnConnect: true }, (socket) => {
    socket.on('error', () => undefined);
    onAccept(socket);
  });
  mesh.own(listener);
  const fd = openListener({ namespace, address: '::', port: 8080, reuseAddress: true });
  await new Promise<void>((resolve) => listener.listen({ fd }, resolve));
});
after(async () => {
  await mesh[Symbol.asyncDispose]();
});

interface Seen {
  readonly bytes: Buffer;
  readonly end: 'FIN' | 'RST' | 'open';
}

type Pace = 'fast' | 'late' | 'slow';

/**
 * Reads to the end of a connection: at once, 30 ms late, or in small pieces. After a reset Node.js discards bytes that
 * it has read but not delivered, so a slow reader is only for orderly ends.
 */
function readToEnd(socket: Socket, pace: Pace, milliseconds = 8_000): Promise<Seen> {
  const chunks: Buffer[] = [];
  socket.removeAllListeners('data');
  socket.pause();
  return new Promise((resolve) => {
    const finish = (end: Seen['end']): void => {
      clearTimeout(limit);
      resolve({ bytes: Buffer.concat(chunks), end });
    };
    const limit = setTimeout(() => finish('open'), milliseconds);
    socket.once('end', () => finish('FIN'));
    socket.once('error', () => finish('RST'));
    setTimeout(
      () => {
        socket.on('data', (chunk: Buffer) => {
          chunks.push(chunk);
          if (pace !== 'slow') return;
          socket.pause();
          setTimeout(() => socket.resume(), 2);
        });
        socket.resume();
      },
      pace === 'fast' ? 0 : 30,
    );
  });
}

/** Connects, sends a request and reads to the end. A reset may arrive before the `connect` event. */
async function ask(pace: Pace): Promise<Seen> {
  let socket: Socket;
  try {
    socket = await dialWaypoint();
  } catch (error) {
    assert.equal((error as { errnoName?: string }).errnoName, 'ECONNRESET');
    return { bytes: Buffer.alloc(0), end: 'RST' };
  }
  socket.write('question');
  const seen = await readToEnd(socket, pace);
  socket.destroy();
  return seen;
}

function assertClosed(seen: Seen): void {
  assert.match(seen.end, /^(FIN|RST)$/);
  assert.equal(seen.bytes.length, 0);
}

/** A policy `default/deny`, for one port of all pods or for all ports. */
function deny(port?: number): void {
  const rules = port === undefined ? [[]] : [[[{ destinationPorts: [port] }]]];
  mesh.apply({
    kind: 'policy',
    policy: { name: 'deny', namespace: 'default', scope: 'Namespace', action: 'Deny', rules, dryRun: false },
  });
}

/** Returns a side's record of this row's connection once it is closed. */
async function recordOf(side: 'source' | 'destination'): Promise<Recorded> {
  return await mesh.proxy(side === 'source' ? 0 : 1).records.closed(side);
}

function assertLog(record: Recorded, flag: string, error?: RegExp): void {
  assert.equal(record.end?.flag, flag, record.end?.error ?? 'no error');
  if (error === undefined) assert.equal(record.end?.error, undefined);
  else assert.match(record.end?.error ?? '', error);
}

function row(id: string, what: string, run: () => Promise<void>): void {
  tested.add(id);
  test(`${id}: ${what}`, { timeout: 20_000 }, async () => {
    mesh.clear();
    await run();
  });
}

const dialWaypoint = (): Promise<Socket> => connect(client, waypoint.pod.addresses.v4, 8080);

interface RequestedRow {
  readonly id: string;
  readonly what: string;
  /** The waypoint's action after the request. */
  readonly peer: (stream: FrameStream) => void | Promise<void>;
  readonly bytes: number;
  /** `closed` allows both: the result depends on whether the request had arrived. */
  readonly end: 'FIN' | 'RST' | 'closed';
  readonly flag?: string;
  readonly error?: RegExp;
}

const requested: readonly RequestedRow[] = [
  {
    id: 'END-01',
    what: 'DATA with END_STREAM is an end in order',
    peer: async (stream) => {
      stream.respond();
      await stream.send(large, true);
    },
    bytes: large.length,
    end: 'FIN',
  },
  ...[['NO_ERROR', 0, 'END-02'] as const, ['CANCEL', 8, 'END-03'] as const].map(([name, code, id]) => ({
    id,
    what: `DATA with END_STREAM, then RST_STREAM ${name}, ends in order`,
    peer: async (stream: FrameStream) => {
      stream.respond();
      await stream.send(large, true);
      stream.reset(code);
    },
    bytes: large.length,
    end: 'FIN' as const,
  })),
  ...(
    [
      ['NO_ERROR', 0, 'END-04'],
      ['CANCEL', 8, 'END-05'],
      ['CONNECT_ERROR', 10, 'END-06'],
    ] as const
  ).map(([name, code, id]) => ({
    id,
    what: `DATA, then RST_STREAM ${name} without END_STREAM, ends in order`,
    peer: async (stream: FrameStream) => {
      stream.respond();
      await stream.send(large);
      stream.reset(code);
    },
    bytes: large.length,
    end: 'FIN' as const,
  })),
  {
    id: 'END-07',
    what: 'RST_STREAM CONNECT_ERROR before any DATA is a reset',
    peer: (stream) => {
      stream.respond();
      stream.reset(http2Code.connectError);
    },
    bytes: 0,
    end: 'RST',
  },
  {
    id: 'END-08',
    what: 'DATA, then RST_STREAM INTERNAL_ERROR, is a reset after the data',
    peer: async (stream) => {
      stream.respond();
      await stream.send(large);
      stream.reset(http2Code.internalError);
    },
    bytes: large.length,
    end: 'RST',
    flag: 'CONNECT',
    error: /HTTP\/2 error 2/,
  },
  {
    id: 'END-09',
    what: 'END_STREAM, then RST_STREAM INTERNAL_ERROR, ends the data in order and is a failure',
    peer: async (stream) => {
      stream.respond();
      await stream.send(large, true);
      stream.reset(http2Code.internalError);
    },
    bytes: large.length,
    end: 'FIN',
    flag: 'CONNECT',
    error: /HTTP\/2 error 2/,
  },
  ...(
    [
      [0, 'END-10'],
      [2, 'END-11'],
      [8, 'END-12'],
      [10, 'END-13'],
    ] as const
  ).map(([code, id]) => ({
    id,
    what: `RST_STREAM ${code} before the response is a failure`,
    peer: (stream: FrameStream) => stream.reset(code),
    bytes: 0,
    end: 'closed' as const,
    flag: 'CONNECT',
    error: new RegExp(`reset the request unanswered: HTTP/2 error ${code}`),
  })),
  {
    id: 'END-14',
    what: 'a status other than 200 is a failure that names the status and the authority',
    peer: (stream) => stream.respond(503, true),
    bytes: 0,
    end: 'closed',
    flag: 'CONNECT',
    error: /503.*:8080$/,
  },
  {
    id: 'END-15',
    what: 'response headers with END_STREAM end in order',
    peer: (stream) => stream.respond(200, true),
    bytes: 0,
    end: 'FIN',
  },
  ...(
    [
      ['END-16', 'close_notify and FIN', (connection: FrameConnection) => connection.end()],
      ['END-17', 'FIN without close_notify', (connection: FrameConnection) => connection.cut()],
      [
        'END-18',
        'GOAWAY and FIN',
        (connection: FrameConnection) => {
          connection.goaway(0x7fffffff, 0);
          connection.end();
        },
      ],
      [
        'END-19',
        'GOAWAY with an error and FIN',
        (connection: FrameConnection) => {
          connection.goaway(0x7fffffff, 2);
          connection.end();
        },
      ],
    ] as const
  ).map(([id, name, end]) => ({
    id,
    what: `${name} of the session after DATA is a reset after the data`,
    peer: async (stream: FrameStream) => {
      stream.respond();
      await stream.send(large);
      end(stream.connection);
    },
    bytes: large.length,
    end: 'RST' as const,
    flag: 'CONNECT',
    error: /was lost/,
  })),
  {
    id: 'END-20',
    what: 'END_STREAM, then the end of the session, ends the data in order and is a failure',
    peer: async (stream) => {
      stream.respond();
      await stream.send(large, true);
      stream.connection.end();
    },
    bytes: large.length,
    end: 'FIN',
    flag: 'CONNECT',
    error: /was lost/,
  },
  {
    id: 'END-21',
    what: 'GOAWAY does not affect a running stream',
    peer: async (stream) => {
      stream.respond();
      stream.connection.goaway(stream.id, 0);
      await stream.send(large, true);
      stream.reset(http2Code.noError);
    },
    bytes: large.length,
    end: 'FIN',
  },
];

describe('ends of streams that the proxy requested', () => {
  for (const { id, what, peer, bytes, end, flag = '-', error } of requested) {
    for (const pace of ['fast', end === 'FIN' ? 'slow' : 'late'] as const) {
      row(id, `${what} (${pace} reader)`, async () => {
        onStream = peer;
        const seen = await ask(pace);
        if (end === 'closed') assertClosed(seen);
        else assert.deepEqual([seen.bytes.length, seen.end], [bytes, end]);
        assert.ok(seen.bytes.equals(large.subarray(0, bytes)));
        const record = await recordOf('source');
        assertLog(record, flag, error);
        assert.equal(record.fromServer, bytes);
      });
    }
  }

  row(
    'END-22',
    'what the application sends after the stream has ended is thrown away, without a reset',
    async () => {
      onStream = async (stream) => {
        stream.respond();
        await stream.send(large, true);
        stream.reset(http2Code.noError);
      };
      const socket = await dialWaypoint();
      const timer = setInterval(() => socket.write(Buffer.alloc(10_000)), 1);
      const seen = await readToEnd(socket, 'slow');
      assert.deepEqual([seen.bytes.length, seen.end], [large.length, 'FIN']);
      clearInterval(timer);
      socket.destroy();
      assertLog(await recordOf('source'), '-');
    },
  );

  row('END-23', 'a session reset after DATA is a reset, after the bytes received before', async () => {
    onStream = async (stream) => {
      stream.respond();
      await stream.send(large.subarray(0, 5_000));
      await stream.until(() => stream.received.length > 8);
      stream.connection.reset();
    };
    const socket = await dialWaypoint();
    socket.write('question');
    const reading = readToEnd(socket, 'fast');
    socket.once('data', () => socket.write('more'));
    const seen = await reading;
    assert.deepEqual([seen.bytes.length, seen.end], [5_000, 'RST']);
    assertLog(await recordOf('source'), 'CONNECT', /was lost/);
  });

  for (const [id, name, end] of [
    ['END-24', 'REFUSED_STREAM', (stream: FrameStream) => stream.reset(http2Code.refusedStream)],
    ['END-25', 'close_notify and FIN', (stream: FrameStream) => stream.connection.end()],
    ['END-26', 'FIN without close_notify', (stream: FrameStream) => stream.connection.cut()],
    ['END-27', 'RST', (stream: FrameStream) => stream.connection.reset()],
    [
      'END-28',
      'GOAWAY that does not cover the request',
      (stream: FrameStream) => stream.connection.goaway(0, 0),
    ],
  ] as const) {
    row(id, `${name} before the response: another session is tried`, async () => {
      let tries = 0;
      const bytes: number[] = [];
      onStream = async (stream) => {
        tries += 1;
        bytes.push(stream.received.length);
        if (tries < 3) {
          end(stream);
          return;
        }
        stream.respond();
        await stream.send(Buffer.from('answer'), true);
      };
      const socket = await dialWaypoint();
      socket.write('question');
      const seen = await readToEnd(socket, 'fast');
      assert.deepEqual([seen.bytes.toString(), seen.end], ['answer', 'FIN']);
      assert.deepEqual(bytes, [0, 0, 0], 'no byte of the application before an answer');
      socket.destroy();
      assertLog(await recordOf('source'), '-');
    });
  }

  row('END-29', 'four sessions that end before the response are enough', async () => {
    let tries = 0;
    onStream = (stream) => {
      tries += 1;
      stream.connection.reset();
    };
    assertClosed(await ask('fast'));
    assertLog(await recordOf('source'), 'CONNECT', /unanswered 4 times/);
    assert.equal(tries, 4);
  });

  row('END-30', "the application's FIN is END_STREAM, and the answer still arrives", async () => {
    onStream = async (stream) => {
      stream.respond();
      await stream.until(() => stream.events.includes('end'));
      await stream.send(large, true);
    };
    const socket = await dialWaypoint();
    socket.end('question');
    const seen = await readToEnd(socket, 'slow');
    assert.deepEqual([seen.bytes.length, seen.end], [large.length, 'FIN']);
    assertLog(await recordOf('source'), '-');
  });

  row(
    'END-31',
    "the application's RST is RST_STREAM CONNECT_ERROR, after the bytes that it sent",
    async () => {
      const got = Promise.withResolvers<FrameStream>();
      onStream = (stream) => {
        stream.respond();
        got.resolve(stream);
      };
      const socket = await dialWaypoint();
      socket.write(large.subarray(0, 30_000));
      const stream = await got.promise;
      await stream.until(() => stream.received.length === 30_000);
      socket.resetAndDestroy();
      await stream.until(() => stream.events.includes('reset 10'));
      assert.deepEqual(stream.events, ['headers', 'data', 'reset 10']);
      const record = await recordOf('source');
      assertLog(record, '-');
      assert.equal(record.fromClient, 30_000);
    },
  );

  /** Dials a waypoint that does not answer, sends `bytes` and resets. */
  const resetUnanswered = async (bytes: number): Promise<FrameStream> => {
    const got = Promise.withResolvers<FrameStream>();
    onStream = got.resolve;
    const socket = await dialWaypoint();
    if (bytes > 0) await new Promise((resolve) => socket.write(large.subarray(0, bytes), resolve));
    const stream = await got.promise;
    socket.resetAndDestroy();
    return stream;
  };

  for (const [id, bytes] of [
    ['END-36', 0],
    ['END-38', 30_000],
  ] as const) {
    row(id, `the application's RST after ${bytes} bytes ends a request without a response`, async () => {
      const stream = await resetUnanswered(bytes);
      await stream.until(() => stream.events.includes('reset 10'), 10_000);
      assert.deepEqual(stream.events, ['headers', 'reset 10']);
      const record = await recordOf('source');
      assertLog(record, '-');
      assert.equal(record.fromClient, 0);
    });
  }

  row('END-37', "the application's RST before the response: what it sent is forwarded first", async () => {
    const stream = await resetUnanswered(30_000);
    stream.respond();
    await stream.until(() => stream.events.includes('reset 10'));
    assert.deepEqual(stream.events, ['headers', 'data', 'reset 10']);
    assert.equal(stream.received.length, 30_000);
    assertLog(await recordOf('source'), '-');
  });

  row('END-32', 'an application that closes while the peer sends: END_STREAM, then RST_STREAM', async () => {
    const got = Promise.withResolvers<FrameStream>();
    onStream = async (stream) => {
      stream.respond();
      got.resolve(stream);
      await stream.until(() => stream.events.includes('end'));
      await stream.send(Buffer.concat([large, large, large]));
    };
    const socket = await dialWaypoint();
    socket.write('question');
    socket.destroySoon();
    const stream = await got.promise;
    await stream.until(() => stream.events.some((event) => event.startsWith('reset')));
    assert.deepEqual(stream.events, ['headers', 'data', 'end', 'reset 10']);
    assertLog(await recordOf('source'), '-');
  });

  row('END-33', 'a receiver that acknowledges nothing is reset', async () => {
    onStream = async (stream) => {
      stream.respond();
      await stream.send(Buffer.alloc(3 << 20), true);
      stream.reset(http2Code.noError);
    };
    const socket = await dialWaypoint();
    socket.pause();
    const record = await recordOf('source');
    assert.ok(record.fromServer < 3 << 20);
    assertLog(record, '-');
    const seen = await readToEnd(socket, 'fast');
    assert.equal(seen.end, 'RST');
  });

  row('END-34', 'a pod that leaves: RST, and RST_STREAM INTERNAL_ERROR', async () => {
    const got = Promise.withResolvers<FrameStream>();
    onStream = (stream) => {
      stream.respond();
      got.resolve(stream);
    };
    const { pod } = await mesh.pod();
    const socket = await connect(pod, waypoint.pod.addresses.v4, 8080);
    socket.write('question');
    const stream = await got.promise;
    await stream.until(() => stream.received.length === 8);
    mesh.proxy(0).tunnel.removePod(pod.uid);
    assert.equal((await readToEnd(socket, 'fast')).end, 'RST');
    await stream.until(() => stream.connection.closed || stream.events.includes('reset 2'));
  });

  row('END-35', 'a receiver that acknowledges nothing after it has ended as well is reset', async () => {
    onStream = async (stream) => {
      stream.respond();
      await stream.until(() => stream.events.includes('end'));
      await stream.send(Buffer.alloc(3 << 20), true);
    };
    const socket = await dialWaypoint();
    socket.pause();
    socket.end('question');
    const record = await recordOf('source');
    assert.ok(record.fromServer < 3 << 20);
    assertLog(record, '-');
    const seen = await readToEnd(socket, 'fast');
    assert.equal(seen.end, 'RST');
  });
});

describe('ends of streams that the proxy serves', () => {
  async function open(): Promise<{ stream: FrameStream; connection: FrameConnection }> {
    const { pod, workload } = await mesh.pod({ captured: false });
    const socket = await connect(pod, server.addresses.v4, 15008);
    const connection = await openRudeClient(socket, mesh.authority.issue(workload));
    return { stream: connection.connect(`${server.addresses.v4}:8080`), connection };
  }

  interface ServedRow {
    readonly id: string;
    readonly what: string;
    /** The client's action after its request; `answered`: after the answer. */
    readonly peer: (stream: FrameStream) => void | Promise<void>;
    readonly answered: boolean;
    readonly end: 'FIN' | 'RST';
    readonly flag?: string;
    readonly error?: RegExp;
  }

  const served: readonly ServedRow[] = [
    ...(
      [
        [0, 'END-40'],
        [8, 'END-41'],
      ] as const
    ).map(([code, id]) => ({
      id,
      what: `DATA with END_STREAM and RST_STREAM ${code} before the application is reached`,
      peer: async (stream: FrameStream) => {
        await stream.send(large.subarray(0, 60_000), true);
        stream.reset(code);
      },
      answered: false,
      end: 'FIN' as const,
    })),
    ...(
      [
        [0, 'END-42'],
        [8, 'END-43'],
        [10, 'END-44'],
      ] as const
    ).map(([code, id]) => ({
      id,
      what: `DATA, then RST_STREAM ${code}, ends in order`,
      peer: async (stream: FrameStream) => {
        await stream.send(large.subarray(0, 60_000));
        stream.reset(code);
      },
      answered: true,
      end: 'FIN' as const,
    })),
    {
      id: 'END-45',
      what: 'DATA, then RST_STREAM INTERNAL_ERROR, is a reset after the data',
      peer: async (stream) => {
        await stream.send(large.subarray(0, 60_000));
        stream.reset(http2Code.internalError);
      },
      answered: true,
      end: 'RST',
      flag: 'CONNECT',
      error: /HTTP\/2 error 2/,
    },
    {
      id: 'END-46',
      what: 'the end of the session after DATA is a reset after the data',
      peer: async (stream) => {
        await stream.send(large.subarray(0, 60_000));
        stream.connection.end();
      },
      answered: true,
      end: 'RST',
      flag: 'CONNECT',
      error: /was lost/,
    },
    {
      id: 'END-47',
      what: 'END_STREAM, then the end of the session, ends the data in order and is a failure',
      peer: async (stream) => {
        await stream.send(large.subarray(0, 60_000), true);
        stream.connection.cut();
      },
      answered: true,
      end: 'FIN',
      flag: 'CONNECT',
      error: /was lost/,
    },
  ];

  for (const { id, what, peer, answered, end, flag = '-', error } of served) {
    for (const pace of ['fast', end === 'FIN' ? 'slow' : 'late'] as const) {
      row(id, `${what} (${pace} reader)`, async () => {
        const reading = Promise.withResolvers<Seen>();
        onAccept = (socket) => void readToEnd(socket, pace).then(reading.resolve);
        const { stream, connection } = await open();
        if (answered) await stream.until(() => stream.events.includes('headers'));
        await peer(stream);
        const seen = await reading.promise;
        assert.deepEqual([seen.bytes.length, seen.end], [60_000, end]);
        const record = await recordOf('destination');
        assertLog(record, flag, error);
        assert.equal(record.fromClient, 60_000);
        connection.end();
      });
    }
  }

  row(
    'END-48',
    "the application's RST after its answer is RST_STREAM CONNECT_ERROR after the DATA",
    async () => {
      onAccept = (socket) => {
        socket.write(large, () => setTimeout(() => socket.resetAndDestroy(), 50));
      };
      const { stream, connection } = await open();
      await stream.until(() => stream.events.includes('reset 10'));
      assert.deepEqual(stream.events, ['headers', 'data', 'reset 10']);
      assert.ok(stream.received.equals(large));
      assertLog(await recordOf('destination'), '-');
      connection.end();
    },
  );

  row(
    'END-49',
    'an application that answers and closes with the request unread: its whole answer arrives',
    async () => {
      onAccept = (socket) => {
        socket.removeAllListeners('data');
        socket.pause();
        socket.write(large.subarray(0, 100_000), () => setTimeout(() => socket.destroy(), 50));
      };
      const { stream, connection } = await open();
      await stream.send(large.subarray(0, 60_000));
      await stream.until(() => stream.events.includes('reset 10'));
      assert.equal(stream.received.length, 100_000);
      assertLog(await recordOf('destination'), '-');
      connection.end();
    },
  );

  row('END-50', "the application's FIN is END_STREAM; the client continues to send", async () => {
    const reading = Promise.withResolvers<Seen>();
    onAccept = (socket) => {
      socket.end('answer');
      void readToEnd(socket, 'slow').then(reading.resolve);
    };
    const { stream, connection } = await open();
    await stream.until(() => stream.events.includes('end'));
    await stream.send(large, true);
    const seen = await reading.promise;
    assert.deepEqual([seen.bytes.length, seen.end], [large.length, 'FIN']);
    assertLog(await recordOf('destination'), '-');
    connection.end();
  });

  row('END-52', 'a policy that denies a running connection: RST, and RST_STREAM INTERNAL_ERROR', async () => {
    const reading = Promise.withResolvers<Seen>();
    onAccept = (socket) => void readToEnd(socket, 'fast').then(reading.resolve);
    const { stream, connection } = await open();
    await stream.until(() => stream.events.includes('headers'));
    deny();
    assert.equal((await reading.promise).end, 'RST');
    await stream.until(() => stream.events.includes('reset 2'));
    assertLog(await recordOf('destination'), 'DENY', /policy change/);
    mesh.apply({ kind: 'removePolicy', key: 'default/deny' });
    connection.end();
  });

  row('END-51', 'a refused application is 503, and the log names its port', async () => {
    const { pod, workload } = await mesh.pod({ captured: false });
    const socket = await connect(pod, server.addresses.v4, 15008);
    const connection = await openRudeClient(socket, mesh.authority.issue(workload));
    const stream = connection.connect(`${server.addresses.v4}:8099`);
    await stream.until(() => stream.events.includes('end'));
    const record = await recordOf('destination');
    assertLog(record, 'CONNECT', new RegExp(`${server.addresses.v4}:8099 failed: ECONNREFUSED`));
    connection.end();
  });
});

describe('ends of plaintext connections', () => {
  row('END-60', 'a FIN of either side is forwarded, and the other direction stays open', async () => {
    onAccept = (socket) => {
      const chunks: Buffer[] = [];
      socket.on('data', (chunk: Buffer) => chunks.push(chunk)).resume();
      socket.on('end', () =>
        socket.end(Buffer.concat([Buffer.from(chunks.length > 0 ? 'got it' : ''), large])),
      );
    };
    const socket = await connect(outside, server.addresses.v4, 8080);
    socket.end('question');
    const seen = await readToEnd(socket, 'slow');
    assert.deepEqual([seen.bytes.length, seen.end], [large.length + 6, 'FIN']);
    assertLog(await recordOf('destination'), '-');
  });

  for (const pace of ['fast', 'late'] as const) {
    row('END-61', `a RST arrives after the bytes before it (${pace} reader)`, async () => {
      onAccept = (socket) => {
        socket.write(large.subarray(0, 200_000), () => setTimeout(() => socket.resetAndDestroy(), 50));
      };
      const socket = await connect(outside, server.addresses.v4, 8080);
      socket.write('question');
      const seen = await readToEnd(socket, pace);
      assert.deepEqual([seen.bytes.length, seen.end], [200_000, 'RST']);
      assertLog(await recordOf('destination'), '-');
    });
  }

  row('END-62', "the client's RST reaches the application", async () => {
    const ended = Promise.withResolvers<Seen>();
    onAccept = (socket) => void readToEnd(socket, 'fast').then(ended.resolve);
    const socket = await connect(outside, server.addresses.v4, 8080);
    socket.write(large.subarray(0, 50_000), () => setTimeout(() => socket.resetAndDestroy(), 50));
    const seen = await ended.promise;
    assert.deepEqual([seen.bytes.length, seen.end], [50_000, 'RST']);
  });

  for (const [id, what, port, flag, error] of [
    ['END-63', 'a connection that a policy refuses', 8098, 'DENY', /default\/deny/],
    ['END-64', 'a connection that the application refuses', 8099, 'CONNECT', /ECONNREFUSED/],
  ] as const) {
    row(id, `${what} is closed and not reset: FIN for a client that sends nothing`, async () => {
      deny(8098);
      const dial = () => connect(outside, server.addresses.v4, port);
      // One at a time, and many at once, which may end before the test handles their beginning.
      for (const count of [1, 1, 1, 100]) {
        const sockets = await Promise.all(Array.from({ length: count }, dial));
        const seen = await Promise.all(sockets.map((socket) => readToEnd(socket, 'fast')));
        for (const socket of sockets) socket.destroy();
        assert.deepEqual([...new Set(seen.map(({ bytes, end }) => `${end} ${bytes.length}`))], ['FIN 0']);
      }
      assertLog(await recordOf('destination'), flag, error);
      mesh.apply({ kind: 'removePolicy', key: 'default/deny' });
    });

    row(id, `${what} ends for a client that sent something, and none of it arrives`, async () => {
      deny(8098);
      const listening =
        id === 'END-63' ? await listen(server, port, (socket) => socket.pipe(socket)) : undefined;
      for (let round = 0; round < 20; round += 1) {
        const socket = await connect(outside, server.addresses.v4, port);
        socket.write('question');
        assertClosed(await readToEnd(socket, 'fast'));
        socket.destroy();
      }
      assertLog(await recordOf('destination'), flag, error);
      assert.equal(listening?.seen.connections ?? 0, 0);
      listening?.close();
      mesh.apply({ kind: 'removePolicy', key: 'default/deny' });
    });
  }

  test('thousands of refused connections leave no descriptors or sockets', async () => {
    deny(8098);
    using namespace = openNetworkNamespace(server.namespacePath);
    const descriptors = () => readdirSync('/proc/self/fd').length;
    const sockets = async () => (await listTcpSockets(namespace)).count;
    const before = { descriptors: descriptors(), sockets: await sockets() };
    let left = 3_000;
    const one = async (): Promise<void> => {
      while (left > 0) {
        left -= 1;
        const socket = await connect(outside, server.addresses.v4, 8098);
        if (left % 2 === 0) socket.write('question');
        assertClosed(await readToEnd(socket, 'fast'));
        socket.destroy();
      }
    };
    await Promise.all(Array.from({ length: 16 }, one));
    await eventually('descriptors are free again', () => descriptors() <= before.descriptors);
    // Those in TIME_WAIT, which are not listed, are the kernel's own.
    await eventually('no socket is left', async () => (await sockets()) <= before.sockets);
    mesh.apply({ kind: 'removePolicy', key: 'default/deny' });
  });
});

test('bytes of a new connection are counted before the regular report', async (context) => {
  await using patient = await startTestMesh({ nodes: 1, settings: { progressMilliseconds: 60_000 } });
  const from = await patient.pod();
  const to = await patient.pod();
  const echo = patient.own(await listen(to.pod, 8080, (socket) => socket.pipe(socket)));
  const socket = await connect(from.pod, to.pod.addresses.v4, 8080);
  const began = performance.now();
  socket.write(large.subarray(0, 5_000));
  await patient.records.wait(
    () =>
      patient.records.connections.length === 2 &&
      patient.records.connections.every(
        ({ fromClient, fromServer }) => fromClient === 5_000 && fromServer === 5_000,
      ),
  );
  context.diagnostic(`right after ${(performance.now() - began).toFixed(0)} ms`);
  socket.destroy();
  echo.close();
});

test('every row of docs/endings.md has a test, and every test a row', () => {
  const text = readFileSync(new URL('../../docs/endings.md', import.meta.url), 'utf8');
  const rows = [...text.matchAll(/^\| (END-\d\d) \|/gm)].map(([, id = '']) => id);
  assert.deepEqual([...tested].sort(), rows.sort());
});
