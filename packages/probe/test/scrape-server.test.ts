import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { readdirSync, readFileSync } from 'node:fs';
import { get, type IncomingMessage } from 'node:http';
import { connect } from 'node:net';
import { test } from 'node:test';
import { brotliDecompressSync, gunzipSync, inflateSync, zstdDecompressSync } from 'node:zlib';
import { contentEncoding, contentType } from '../src/scrape/body.ts';
import { startScrapeServer } from '../src/scrape/scrape-server.ts';
import { start, workload } from './support/mesh.ts';
import { startProbe } from './support/scrape.ts';

async function request(
  port: number,
  path: string,
  headers: Record<string, string> = {},
): Promise<{ response: IncomingMessage; body: Buffer }> {
  const [response] = (await once(get({ host: '127.0.0.1', port, path, headers }), 'response')) as [
    IncomingMessage,
  ];
  const pieces: Buffer[] = [];
  for await (const piece of response) pieces.push(piece as Buffer);
  return { response, body: Buffer.concat(pieces) };
}

test('OBS-14: Accept decides the content type; the body is OpenMetrics either way and ends with the EOF marker', async (t) => {
  const probe = await startProbe(t);
  for (const path of ['/metrics', '/stats/prometheus', '/metrics?name=x']) {
    const open = await request(probe.server.port, path, {
      accept: 'text/html;q=0.1, application/openmetrics-text; version=1.0.0',
    });
    assert.equal(open.response.statusCode, 200);
    assert.equal(
      open.response.headers['content-type'],
      'application/openmetrics-text;charset=utf-8;version=1.0.0',
    );
    assert.match(open.body.toString(), /\n# EOF\n$/);
    const plain = await request(probe.server.port, path);
    assert.equal(plain.response.headers['content-type'], 'text/plain; charset=utf-8');
    assert.match(plain.body.toString(), /\n# EOF\n$/);
    assert.equal(plain.body.toString().match(/# EOF/g)?.length, 1);
  }
});

test('OBS-15: any other path on the metrics port is 404', async (t) => {
  const probe = await startProbe(t);
  for (const path of ['/foo', '/', '/metrics/', '/stats']) {
    assert.equal((await request(probe.server.port, path)).response.statusCode, 404, path);
  }
});

const decoders = {
  gzip: gunzipSync,
  zstd: zstdDecompressSync,
  br: brotliDecompressSync,
  deflate: inflateSync,
  identity: (body: Buffer) => body,
};
for (const [encoding, decode] of Object.entries(decoders)) {
  test(`a scrape of several chunks arrives whole in ${encoding}`, async (t) => {
    const probe = await startProbe(t);
    for (let index = 0; index < 300; index++) {
      const name = `client-ü-${index}`;
      probe.observer.opened(start({ source: workload({ name, workloadName: name }) })).close({ flag: '-' });
    }
    const { response, body } = await request(probe.server.port, '/metrics', { 'accept-encoding': encoding });
    assert.equal(response.headers['content-encoding'], encoding === 'identity' ? undefined : encoding);
    const text = decode(body).toString();
    const lines = text.split('\n').filter((line) => line.startsWith('istio_tcp_connections_opened_total{'));
    assert.equal(lines.length, 300);
    assert.ok(lines.every((line) => /source_workload="client-ü-\d+"/.test(line)));
    assert.match(text, /# EOF\n$/);
  });
}

for (const encoding of ['gzip', 'zstd'] as const) {
  test(`a client that reads late gets the same bytes in ${encoding}`, async (t) => {
    const probe = await startProbe(t);
    // Names that hardly compress: the body is larger than the buffers of a socket that is not read.
    const names = Array.from({ length: 2_000 }, () => randomBytes(100).toString('base64url'));
    for (const name of names)
      probe.observer.opened(start({ source: workload({ name, workloadName: name }) })).close({ flag: '-' });
    const { port } = probe.server;
    const late = get({ host: '127.0.0.1', port, path: '/metrics', headers: { 'accept-encoding': encoding } });
    const [response] = (await once(late, 'response')) as [IncomingMessage];
    // Meanwhile the late body fills its socket, and the chunks that are sent are freed.
    const whole = await probe.scrape();
    const body = Buffer.concat(await response.toArray());
    assert.ok(body.length > 2_000_000, `${body.length}`);
    const opened = (text: string) => text.split('\n').filter((line) => line.startsWith('istio_tcp_'));
    assert.deepEqual(opened(decoders[encoding](body).toString()), opened(whole));
  });
}

test('encodings follow the weights of the client', () => {
  const table: [string | undefined, string][] = [
    [undefined, 'identity'],
    ['gzip', 'gzip'],
    ['gzip, zstd', 'zstd'],
    ['gzip;q=1.0, zstd;q=0.5', 'gzip'],
    ['gzip;q=0', 'identity'],
    ['*', 'zstd'],
    ['br;q=x, deflate', 'deflate'],
    ['snappy', 'identity'],
  ];
  for (const [accept, expected] of table) assert.equal(contentEncoding(accept), expected, `${accept}`);
  assert.match(contentType('Application/OpenMetrics-Text;version=0.0.1'), /^application\/openmetrics-text/);
  assert.match(contentType('text/plain'), /^text\/plain/);
});

test('a client that does not finish its header is disconnected after two seconds, and a half-close is answered', async (t) => {
  const probe = await startProbe(t);
  const half = connect({ host: '127.0.0.1', port: probe.server.port, allowHalfOpen: true });
  half.end('GET /foo HTTP/1.1\r\nHost: x\r\n\r\n');
  let answer = '';
  half.on('data', (data) => {
    answer += data;
  });
  await once(half, 'end');
  assert.match(answer, /^HTTP\/1.1 404/);
  const slow = connect(probe.server.port, '127.0.0.1');
  slow.write('GET /metrics HTTP/1.1\r\n');
  slow.resume();
  const began = Date.now();
  await once(slow, 'close');
  assert.ok(Date.now() - began < 5000);
});

test('a control thread that does not answer delays a scrape but does not fail it', async (t) => {
  const probe = await startProbe(t, { collect: () => new Promise(() => undefined) });
  assert.match(await probe.scrape(), /# EOF\n$/);
});

test('a metrics port in use is an error that names it', async (t) => {
  const probe = await startProbe(t);
  await assert.rejects(startScrapeServer({ host: '127.0.0.1', port: probe.server.port }), {
    code: 'KMESH_SCRAPE_LISTEN',
    message: new RegExp(`port ${probe.server.port}`),
  });
});

test('the scrape thread alone runs at low priority', async (t) => {
  const niceness = (path: string) => {
    const text = readFileSync(path, 'utf8');
    return Number(text.slice(text.lastIndexOf(')') + 2).split(' ')[16]);
  };
  const main = `/proc/self/task/${process.pid}/stat`;
  const before = niceness(main);
  await startProbe(t);
  const all = readdirSync('/proc/self/task').map((thread) => niceness(`/proc/self/task/${thread}/stat`));
  // Also if the tests run at a lower priority.
  assert.equal(niceness(main), before);
  assert.ok(all.includes(Math.max(10, before)), `${all}`);
});
