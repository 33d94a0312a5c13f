import assert from 'node:assert/strict';
import type { Socket } from 'node:net';
import { after, before, describe, test } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import type { Policy } from '@kmesh/api';
import type { Host, Pod } from '@kmesh/lab';
import {
  dialHeld,
  dialOracle,
  type OracleDial,
  oracleStyles,
  serveOracle,
  startOracle,
} from '@kmesh/lab/testing/kernel/integrity-oracle.ts';
import { lose, loseNothing, someSegments, untilLost } from '@kmesh/lab/testing/traffic/broken-network.ts';
import { untilCarrying } from '@kmesh/lab/testing/traffic/tcp-sockets.ts';
import { startTestMesh, type TestMesh } from '@kmesh/lab/testing/tunnel/mesh.ts';
import {
  connect,
  doubleEcho,
  ending,
  listen,
  readAll,
  readExactly,
} from '@kmesh/lab/testing/tunnel/traffic.ts';

/** KMESH_TEST_LONG=n: n times as many rounds, on 64 connections in every style. */
const LONG = Number(process.env['KMESH_TEST_LONG'] ?? 0);
const CONNECTIONS = LONG > 0 ? 64 : 8;
const ROUNDS = 150 * Math.max(1, LONG);
const MIB = 2 ** 20;
const HELD_LIMIT = 48 * MIB;

let mesh: TestMesh;
let outside: Host;
let inside: Pod;
let port = 7000;

before(async () => {
  mesh = await startTestMesh({ nodes: 1 });
  outside = (await mesh.pod({ captured: false, name: 'outside' })).pod;
  inside = (await mesh.pod({ name: 'inside' })).pod;
});
after(async () => {
  await mesh?.[Symbol.asyncDispose]();
});

const ways = {
  'into a captured pod': () => ({ from: outside, to: inside }),
  'from a captured pod to a host outside the mesh': () => ({ from: inside as Host, to: outside }),
};

for (const [way, ends] of Object.entries(ways)) {
  describe(`plaintext ${way}`, () => {
    for (const [seed, style] of oracleStyles.entries()) {
      for (const largest of [2_000, 30_000]) {
        test(`no byte is lost, doubled or reordered in style ${style}, messages up to ${largest} bytes`, async () => {
          const { from, to } = ends();
          const oracle = await serveOracle(to, ++port);
          const dial = { style, connections: CONNECTIONS, rounds: ROUNDS, largest, seed };
          const dialled = await dialOracle(from, to, port, dial);
          const served = await oracle.finish();
          assert.deepEqual([dialled.failures, served.failures], [0, 0]);
          assert.deepEqual([dialled.connections, served.connections], [CONNECTIONS, CONNECTIONS]);
        });
      }
    }

    test('a receiver that does not read stops the sender, and gets every byte later', async () => {
      const { from, to } = ends();
      const oracle = await serveOracle(to, ++port);
      const dial = { connections: 2, largest: 64 * MIB, seed: 1 };
      const dialled = await dialHeld(from, to, port, dial, oracle);
      const served = await oracle.finish();
      assert.deepEqual([dialled.failures, served.failures, served.connections], [0, 0, 2]);
      assert.ok(dialled.held > 0 && dialled.held < HELD_LIMIT, `${dialled.held} bytes were accepted`);
    });

    test('a thousand connections at once exchange every byte', async () => {
      const { from, to } = ends();
      const oracle = await serveOracle(to, ++port);
      const dial: OracleDial = {
        style: 'mix',
        connections: 1000,
        rounds: 30 * Math.max(1, LONG),
        largest: 500,
        seed: 2,
      };
      const dialled = await dialOracle(from, to, port, dial);
      const served = await oracle.finish();
      assert.deepEqual([dialled.failures, served.failures], [0, 0]);
      assert.deepEqual([dialled.connections, served.connections], [1000, 1000]);
    });

    test('killing programs causes no wrong byte', async () => {
      const { from, to } = ends();
      for (const victim of ['client', 'server'] as const) {
        const oracle = await serveOracle(to, ++port, true);
        const dial = { style: 'mix', connections: 8, rounds: 100_000, largest: 2_000, seed: 2 };
        const child = startOracle(from, to, port, dial);
        let output = '';
        child.stdout?.setEncoding('utf8').on('data', (text: string) => {
          output += text;
        });
        const ended = new Promise((resolve) => child.once('close', resolve));
        await untilCarrying(to, port, 8);
        if (victim === 'client') child.kill('SIGKILL');
        else process.kill(oracle.pid, 'SIGKILL');
        await ended;
        const { failures, broken } =
          victim === 'client'
            ? await oracle.finish()
            : (JSON.parse(output) as { failures: number; broken: number });
        assert.deepEqual([failures, broken], [0, 8]);
      }
    });
  });
}

describe('a plaintext connection', () => {
  const answer = Buffer.from('hello worldhello world');

  async function exchange(socket: Socket, exchanges: number): Promise<void> {
    for (let count = 0; count < exchanges; count++) {
      socket.write('hello world');
      assert.deepEqual(await readExactly(socket, answer.length), answer);
    }
  }

  /** A connection with a number of exchanges of 11 and 22 bytes. */
  async function exchanging(exchanges: number, port = 8080): Promise<Socket> {
    const socket = await connect(outside, inside.addresses.v4, port);
    await exchange(socket, exchanges);
    return socket;
  }

  before(async () => {
    mesh.own(await listen(inside, 8080, doubleEcho));
  });

  test('has its bytes counted exactly, while it lives and at its end', async () => {
    mesh.clear();
    const socket = await exchanging(300);
    const [live] = mesh.records.connections;
    await mesh.records.wait(() => live?.fromClient === 300 * 11 && live.fromServer === 300 * 22);
    socket.end();
    await readAll(socket);
    const { start, end } = await mesh.records.closed('destination');
    assert.equal(start.securityPolicy, 'unknown');
    assert.equal(end.flag, '-');
    assert.deepEqual([end.bytesFromClient, end.bytesFromServer], [300 * 11, 300 * 22]);
  });

  test('is closed at once when a policy denies it', async () => {
    mesh.clear();
    const socket = await exchanging(50);
    mesh.apply(forbidden);
    assert.notEqual(await ending(socket), 'open');
    const { end } = await mesh.records.closed('destination');
    assert.deepEqual([end.bytesFromClient, end.bytesFromServer], [50 * 11, 50 * 22]);
    mesh.apply({ kind: 'removePolicy', key: 'default/forbidden' });
  });

  test('passes a reset on to the other side', async () => {
    const { promise, resolve } = Promise.withResolvers<unknown>();
    const resetting = await listen(inside, 8082, (socket) => {
      doubleEcho(socket);
      socket.once('error', resolve);
    });
    mesh.own(resetting);
    const socket = await exchanging(50, 8082);
    socket.resetAndDestroy();
    assert.equal(((await promise) as NodeJS.ErrnoException).code, 'ECONNRESET');
  });

  test('that alternates between small messages and bulk keeps every byte', async () => {
    const socket = await exchanging(50);
    socket.write(Buffer.alloc(3_000_000, 'x'));
    await readExactly(socket, 6_000_000, 20_000);
    await exchange(socket, 50);
    socket.destroy();
  });

  test('stops its sender if the receiver does not read, and loses nothing', async () => {
    let reader: Socket | undefined;
    const lazy = await listen(inside, 8083, (socket) => {
      reader = socket;
      doubleEcho(socket);
    });
    mesh.own(lazy);
    const socket = await exchanging(50, 8083);
    reader?.pause();
    // Small messages, each in a separate segment, until the kernel accepts no more for a while.
    const message = Buffer.alloc(500, 'x');
    let sent = 50 * 11;
    for (let idle = 0; idle < 20 && sent < HELD_LIMIT; ) {
      const taken = socket.writableLength === 0;
      if (taken) for (let count = 0; count < 200; count++) socket.write(message);
      if (taken) sent += 200 * message.length;
      idle = taken ? 0 : idle + 1;
      await delay(taken ? 1 : 25);
    }
    assert.ok(sent < HELD_LIMIT, `${sent} bytes were accepted`);
    const answered = readExactly(socket, 2 * (sent - 50 * 11), 60_000);
    reader?.resume();
    assert.equal((await answered).length, 2 * (sent - 50 * 11));
    socket.destroy();
  });

  test('forwards bytes once that TCP retransmits in other segments', async () => {
    const socket = await exchanging(50);
    socket.setNoDelay(true);
    // The first arrives without its acknowledgement, the second is lost: both are retransmitted as one segment.
    await lose(outside, 'tcp sport 8080');
    socket.write('first ');
    // Its acknowledgement, which comes with the answer.
    await untilLost(outside, 1);
    await lose(inside, 'tcp dport 8080');
    socket.write('second');
    await untilLost(inside, 1);
    await loseNothing(inside);
    // The answer to the retransmission would acknowledge the first.
    await untilLost(outside, 2);
    await loseNothing(outside);
    assert.equal(String(await readExactly(socket, 24)), 'first first secondsecond');
    await exchange(socket, 3);
    socket.destroy();
  });

  test('keeps every byte despite lost segments', async () => {
    for (const host of [inside, outside]) await lose(host, someSegments);
    const oracle = await serveOracle(inside, ++port);
    const dial = { style: 'turns', connections: 16, rounds: 30, largest: 1_500, seed: 1 };
    const dialled = await dialOracle(outside, inside, port, dial);
    const served = await oracle.finish();
    await Promise.all([inside, outside].map(loseNothing));
    assert.deepEqual([dialled.failures, served.failures, served.connections], [0, 0, 16]);
  });

  test('keeps the other direction open when one has ended', async () => {
    const socket = await exchanging(50);
    socket.end('hello world');
    assert.deepEqual(await readAll(socket), answer);
  });
});

const forbidden = {
  kind: 'policy',
  policy: {
    ...{ name: 'forbidden', namespace: 'default', scope: 'Namespace', action: 'Deny', dryRun: false },
    rules: [[[{ notPrincipals: [{ kind: 'Presence' }] }]]],
  } satisfies Policy,
} as const;
