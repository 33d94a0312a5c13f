import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { createServer, request } from 'node:http';
import type { AddressInfo } from 'node:net';
import { after, before, beforeEach, test } from 'node:test';
import { adminHandler } from '../../src/admin/routes.ts';

const done: string[] = [];
const server = createServer(
  adminHandler({
    log: {
      current: () => 'info',
      add: (level) => done.push(`level ${level}`),
      reset: () => done.push('reset'),
    },
    quit: () => done.push('quit'),
    configDump: () => Promise.resolve({ secret: true }),
    views: { '/kmesh/view': () => ({ secret: true }) },
    page: () => 'page',
  }),
);
let port = 0;

before(async () => {
  await new Promise<void>((resolve) => server.listen({ host: '127.0.0.1', port: 0 }, resolve));
  port = (server.address() as AddressInfo).port;
});
after(() => server.close());
beforeEach(() => {
  done.length = 0;
});

type Headers = Readonly<Record<string, string>>;

async function ask(method: string, path: string, headers: Headers = {}): Promise<number> {
  return await new Promise((resolve, reject) => {
    const call = request({ host: '127.0.0.1', port, method, path, headers }, (response) => {
      response.resume().once('end', () => resolve(response.statusCode ?? 0));
    });
    call.once('error', reject).end();
  });
}

const reads = ['/', '/config_dump', '/kmesh/view', '/debug/pprof/heap/profiling', '/logging', '/elsewhere'];
const changes = [
  '/quitquitquit',
  '/logging?level=trace',
  '/logging?reset',
  '/debug/pprof/heap/profiling?activate=true',
];

for (const host of [
  'evil.example',
  'evil.example:15000',
  'localhost.evil.example',
  '127.0.0.1.evil.example',
  '10.0.0.1:15000',
  '[::2]:15000',
  '0.0.0.0:15000',
  'localhost:15000:1',
]) {
  test(`a request whose Host is ${JSON.stringify(host)} reads nothing and changes nothing (DNS rebinding)`, async () => {
    for (const headers of [{ host }, { host, origin: `http://${host}`, 'sec-fetch-site': 'same-origin' }]) {
      for (const path of [...reads, ...changes]) {
        for (const method of ['GET', 'POST']) assert.equal(await ask(method, path, headers), 403, path);
      }
    }
    assert.deepEqual(done, []);
  });
}

test('a loopback Host with any port is served: kubectl port-forward chooses its own', async () => {
  for (const host of [
    'localhost',
    'localhost:31234',
    'LOCALHOST:1',
    '127.0.0.1:15000',
    '127.8.9.1',
    '[::1]',
    '[::1]:15000',
  ]) {
    assert.equal(await ask('GET', '/config_dump', { host }), 200, host);
  }
});

const host = 'localhost:15000';
const foreign: Readonly<Record<string, Headers>> = {
  'a form of another site': { origin: 'http://evil.example' },
  'a form of a page without an origin': { origin: 'null' },
  'a page on another port of this machine': { origin: 'http://localhost:8080' },
  'an image of another site': { 'sec-fetch-site': 'cross-site', 'sec-fetch-mode': 'no-cors' },
  'a page of a sibling site': { 'sec-fetch-site': 'same-site' },
  'a link of another site, in a browser without Sec-Fetch': { referer: 'http://evil.example/page' },
};
for (const [what, headers] of Object.entries(foreign)) {
  test(`${what} is refused, whatever header it adds`, async () => {
    for (const path of [...reads, ...changes]) {
      for (const method of ['GET', 'POST']) {
        const all = { host, ...headers, 'x-kmesh-page': '1' };
        assert.equal(await ask(method, path, all), 403, `${method} ${path}`);
      }
    }
    assert.deepEqual(done, []);
  });
}

const browsers: readonly Headers[] = [
  { 'user-agent': 'Mozilla/5.0 (X11; Linux x86_64)' },
  { 'sec-fetch-mode': 'navigate', 'sec-fetch-site': 'none' },
  { origin: `http://${host}` },
  { referer: `http://${host}/` },
  { cookie: 'a=b' },
];

test("a request from a browser changes state only with the page's header", async () => {
  for (const headers of browsers) {
    for (const path of changes) assert.equal(await ask('POST', path, { host, ...headers }), 403, path);
    assert.equal(await ask('GET', '/config_dump', { host, ...headers }), 200);
  }
  assert.deepEqual(done, []);
  for (const headers of browsers) {
    assert.equal(await ask('POST', '/logging?reset', { host, ...headers, 'x-kmesh-page': '1' }), 200);
  }
  assert.equal(done.length, browsers.length);
});

test('istioctl, kmeshctl and curl need no header for their changes; a GET changes nothing', async () => {
  for (const path of [...changes, ...reads]) {
    for (const method of ['GET', 'HEAD', 'PUT', 'DELETE', 'OPTIONS']) await ask(method, path, { host });
  }
  assert.deepEqual(done, []);
  assert.equal(await ask('POST', '/logging?level=debug', { host, 'user-agent': 'Go-http-client/1.1' }), 200);
  assert.equal(await ask('POST', '/quitquitquit', { host, 'user-agent': 'curl/8.0' }), 200);
  assert.deepEqual(done, ['level debug', 'quit']);
});

/** Sends POST /quitquitquit as a user, with an action before the answer is read. Returns the status, or `none`. */
async function quitBy(uid: number, before = ''): Promise<string> {
  const program = [
    'import socket',
    `s = socket.create_connection(("127.0.0.1", ${port}))`,
    's.sendall(b"POST /quitquitquit HTTP/1.1\\r\\nHost: localhost\\r\\nConnection: close\\r\\n\\r\\n")',
    before,
    'print(s.recv(100).decode().split()[1])',
  ].join('\n');
  const child = spawn('setpriv', [`--reuid=${uid}`, '--clear-groups', '/usr/bin/python3', '-c', program]);
  let output = '';
  child.stdout.on('data', (chunk: Buffer) => {
    output += chunk.toString();
  });
  await new Promise((resolve) => child.once('close', resolve));
  return output.trim() || 'none';
}

test("only root can shut the proxy down, identified by the socket's owner", async () => {
  assert.equal(await quitBy(65534), '403');
  assert.equal(await quitBy(65534, 's.shutdown(socket.SHUT_WR)'), '403', 'half-closed');
  assert.deepEqual(done, []);
  assert.equal(await quitBy(0), '200');
  assert.equal(await quitBy(0, 's.shutdown(socket.SHUT_WR)'), '200');
  assert.deepEqual(done, ['quit', 'quit']);
});

test('a client that closes before the answer cannot shut the proxy down: its socket has no owner any more', async () => {
  for (let round = 0; round < 10; round++)
    assert.equal(await quitBy(65534, 's.close(); raise SystemExit'), 'none');
  assert.equal(await ask('GET', '/config_dump', { host }), 200);
  assert.deepEqual(done, []);
});
