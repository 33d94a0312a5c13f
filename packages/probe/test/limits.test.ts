import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer, type RequestListener } from 'node:http';
import { type AddressInfo, connect, type Socket } from 'node:net';
import { type TestContext, test } from 'node:test';
import { limitConnections, oneAtATime, Turnstile } from '../src/scrape/limits.ts';
import { startProbe } from './support/scrape.ts';

async function serve(t: TestContext, handler: RequestListener): Promise<number> {
  const server = createServer(oneAtATime(handler));
  limitConnections(server, { total: 20, perClient: 5 });
  server.listen(0, '::');
  await once(server, 'listening');
  t.after(() => {
    server.closeAllConnections();
    server.close();
  });
  return (server.address() as AddressInfo).port;
}

async function readAll(socket: Socket): Promise<string> {
  let text = '';
  for await (const piece of socket) text += (piece as Buffer).toString('latin1');
  return text;
}

const pipelined = 'GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n'.repeat(5_000);

test('only one of several pipelined requests is answered before the connection ends, and the others cost nothing', async (t) => {
  let asked = 0;
  const port = await serve(t, (_, response) => {
    asked += 1;
    response.write('begin ');
    setImmediate(() => response.end('x'.repeat(1_000_000)));
  });
  const socket = connect(port, '127.0.0.1');
  socket.write(pipelined);
  const text = await readAll(socket);
  assert.equal(text.match(/HTTP\/1.1 200/g)?.length, 1);
  assert.match(text, /x{1000}/);
  assert.equal(asked, 1);
});

test('requests one after another keep their connection', async (t) => {
  const port = await serve(t, (_, response) => response.end('answer'));
  const socket = connect(port, '127.0.0.1').setEncoding('latin1');
  for (let round = 0; round < 5; round++) {
    socket.write('GET / HTTP/1.1\r\nHost: x\r\n\r\n');
    let text = '';
    while (!text.includes('answer')) text += (await once(socket, 'data'))[0];
  }
  socket.destroy();
});

test('a client with all of its connections open does not reduce those of another', async (t) => {
  const port = await serve(t, (_, response) => response.end('answer'));
  const open: Socket[] = [];
  t.after(() => {
    for (const socket of open) socket.destroy();
  });
  for (let count = 0; count < 5; count++) {
    const socket = connect({ port, host: '127.0.0.1' });
    open.push(socket);
    await once(socket, 'connect');
    // Its request is answered: the server has counted the connection.
    socket.write('GET / HTTP/1.1\r\nHost: x\r\n\r\n');
    await once(socket, 'data');
  }
  const surplus = connect({ port, host: '127.0.0.1' }).on('error', () => undefined);
  await once(surplus, 'close');
  const neighbour = connect({ port, host: '127.0.0.1', localAddress: '127.0.0.2' });
  neighbour.write('GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n');
  assert.match(await readAll(neighbour), /answer/);
  open.shift()?.destroy();
  for (;;) {
    const again = connect({ port, host: '127.0.0.1' }).on('error', () => undefined);
    again.write('GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n');
    if ((await readAll(again).catch(() => '')).includes('answer')) break;
  }
});

test('few requests run at a time, in order, with a limit for each client, and further ones are refused', async () => {
  let mustEmpty = false;
  const turns = new Turnstile({ concurrent: 2, perClient: 2, waiting: 2 }, () => mustEmpty);
  const log: string[] = [];
  const enter = (client: string): Promise<Disposable> | undefined => {
    const turn = turns.enter(client);
    void turn?.then(() => log.push(client));
    return turn;
  };
  const first = [enter('a'), enter('a')];
  assert.equal(enter('a'), undefined, 'two of one client');
  const waiting = [enter('b'), enter('c')];
  assert.equal(enter('d'), undefined, 'two that wait');
  await Promise.all(first);
  assert.deepEqual([log, turns.taken], [['a', 'a'], 2]);
  (await first[0])?.[Symbol.dispose]();
  await waiting[0];
  assert.deepEqual(log, ['a', 'a', 'b']);
  mustEmpty = true;
  (await first[1])?.[Symbol.dispose]();
  await Promise.resolve();
  assert.deepEqual(log, ['a', 'a', 'b'], 'the next waits while requests run');
  (await waiting[0])?.[Symbol.dispose]();
  await waiting[1];
  assert.deepEqual(log, ['a', 'a', 'b', 'c']);
});

test('the metrics port answers one of thousands of pipelined scrapes, and other scrapes meanwhile', async (t) => {
  const { server } = await startProbe(t);
  const greedy = connect(server.port, '127.0.0.1').on('error', () => undefined);
  t.after(() => greedy.destroy());
  greedy.write(pipelined);
  const text = await readAll(greedy).catch(() => '');
  assert.equal(text.match(/HTTP\/1.1 200/g)?.length, 1);
  assert.equal((await fetch(`http://127.0.0.1:${server.port}/metrics`)).status, 200);
});
