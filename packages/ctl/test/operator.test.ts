import assert from 'node:assert/strict';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { after, before, test } from 'node:test';
import { isKmeshError } from '@kmesh/api';
import { repeat } from '../src/handler.ts';
import { metrics, parseMetrics } from '../src/metrics.ts';
import { byteRate, byteText, durationText } from '../src/output.ts';
import { commandLine } from '../src/run-main.ts';

const connection = {
  source: 'shop/client',
  destination: 'shop/web-1',
  sourceAddress: '10.0.0.1:4000',
  destinationAddress: '10.0.0.2:8080',
  service: 'shop/web',
  reporter: 'source',
  path: 'kernel',
  reason: 'balanced',
  encrypted: false,
  seconds: 150,
  sentBytes: 1536,
  receivedBytes: 0,
  sentBytesPerSecond: 512,
  receivedBytesPerSecond: 0,
};
const answers: Record<string, unknown> = {
  '/kmesh/connections': { total: 3, connections: [connection] },
  '/kmesh/why': {
    source: 'u1',
    destination: '10.96.0.1:80',
    verdict: 'denied',
    path: 'tunnel',
    steps: [
      { step: 'address', text: 'one' },
      { step: 'address', text: 'two' },
      { step: 'policy', text: 'denied by policy shop/strict' },
    ],
  },
  '/kmesh/tables': {
    off: '',
    usage: [{ table: 'frontends', used: 5, capacity: 10, refused: { 'table-full': 2 } }],
    hooks: [{ program: 'kmesh_connect4', runs: 10, nanoseconds: 1234 }],
    behind: true,
    pods: [{ namespace: 'shop', name: 'web', state: 'unattested', bare: true }],
  },
};
const entries = [{ namespace: '', port: 0, action: 'refuse', service: 'shop/web.shop.svc', workload: '' }];
const requests: string[] = [];
const server = createServer((request, response) => {
  const url = request.url ?? '';
  requests.push(`${request.method} ${url}`);
  const { pathname, searchParams } = new URL(url, 'http://localhost');
  if (pathname === '/logging') {
    if (searchParams.get('level') === 'foo')
      response.writeHead(400).end('Cannot use the log filter\nusage\n');
    else response.end(`current log level is ${searchParams.get('level') ?? 'info'}\n`);
  } else if (pathname === '/metrics') {
    response.end('# HELP a_total x\na_total{b="c\\"d",e="f"} 12\nup 1\n');
  } else if (searchParams.has('address')) {
    response.end(
      JSON.stringify({
        off: '',
        usage: [],
        hooks: [],
        behind: false,
        pods: [],
        address: { ip: '10.96.0.1', entries },
      }),
    );
  } else {
    response.writeHead(answers[pathname] === undefined ? 404 : 200).end(JSON.stringify(answers[pathname]));
  }
});
let admin = '';

before(async () => {
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  admin = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
});
after(() => server.close());

async function kmeshctl(...args: string[]): Promise<{ text: string; code: number }> {
  let text = '';
  let code = 0;
  await commandLine(
    [...args, '--admin', admin],
    (more) => {
      text += more;
    },
    (given) => {
      code = given;
    },
  ).parseAsync();
  return { text, code };
}

test('connections are a table with rates, and state the number left out', async () => {
  const { text } = await kmeshctl('connections');
  assert.match(text, /^SOURCE +DESTINATION +SERVICE +PATH +TLS +AGE +SENT +RECEIVED +SENDING +RECEIVING\n/);
  assert.match(text, /shop\/client +shop\/web-1 +shop\/web +kernel +no +2m30s +1\.5 KiB +0 B +512 B\/s +-\n/);
  assert.match(text, /\n2 more; raise --limit/);
});

test('filters of connections are sent to the daemon', async () => {
  await kmeshctl('connections', 'web', '-n', 'shop', '--path', 'tunnel', '--limit', '7');
  assert.equal(requests.at(-1), 'GET /kmesh/connections?limit=7&text=web&namespace=shop&path=tunnel');
});

test('why shows each step once under its name; a denial is exit code 3', async () => {
  const { text, code } = await kmeshctl('why', 'shop/client', 'shop/web:80');
  assert.equal(requests.at(-1), 'GET /kmesh/why?source=shop%2Fclient&destination=shop%2Fweb%3A80');
  assert.equal(code, 3);
  assert.deepEqual(text.split('\n'), [
    'u1 → 10.96.0.1:80: denied, path tunnel',
    '  address  one',
    '           two',
    '  policy   denied by policy shop/strict',
    '',
  ]);
});

test('tables show their usage, refused entries, the pods, and the cost of a run of each hook', async () => {
  const { text } = await kmeshctl('tables');
  assert.match(text, /frontends +5 +10 +50\.0 % +2 table-full\n/);
  assert.match(text, /kmesh_connect4 +10 +123\n/);
  assert.match(text, /being written/);
  assert.match(text, /shop\/web +unattested +not found\n/);
  const { text: ofAddress } = await kmeshctl('tables', '10.96.0.1');
  assert.match(ofAddress, /any other +every namespace +refuse +shop\/web\.shop\.svc\n/);
});

test("log shows, changes and resets the filter; an invalid level is an error with the daemon's message", async () => {
  assert.equal((await kmeshctl('log')).text, 'info\n');
  assert.equal((await kmeshctl('log', 'access=debug', '--reset')).text, 'access=debug\n');
  assert.equal(requests.at(-1), 'POST /logging?reset=&level=access%3Ddebug');
  assert.deepEqual(JSON.parse((await kmeshctl('log', '-o', 'json')).text), { level: 'info' });
  await assert.rejects(
    kmeshctl('log', 'foo'),
    (error: unknown) =>
      isKmeshError(error, 'KMESH_ADMIN_ANSWER') && /Cannot use the log filter/.test(error.message),
  );
});

test('metrics are printed with units, common labels once, and without empty labels', () => {
  const text = [
    'istio_tcp_sent_bytes_total{reporter="source",app="a",version="latest",zone="unknown"} 1536',
    'istio_tcp_sent_bytes_total{reporter="source",app="b",version="latest",zone="unknown"} 2',
    'process_start_time_seconds 1763800000.25',
    'up_seconds_total 1.23456',
    'kmesh_things 1234567',
  ].join('\n');
  assert.equal(
    metrics(text, undefined, 'short'),
    [
      'istio_tcp_sent_bytes_total   reporter=source',
      '  1.5 KiB   app=a',
      '      2 B   app=b',
      'process_start_time_seconds',
      '  2025-11-22T08:26:40',
      'up_seconds_total',
      '  1.235 s',
      'kmesh_things',
      '  1,234,567',
      '',
    ].join('\n'),
  );
});

test('metrics are a block per family, a table with -o wide; the filter matches names and labels', async () => {
  const { text } = await kmeshctl('metrics', 'e=f', '--stats', admin);
  assert.match(text, /^a_total\n +12 +b=c"d e=f\n/);
  const wide = await kmeshctl('metrics', 'e=f', '--stats', admin, '-o', 'wide');
  assert.match(wide.text, /a_total +12 +b=c"d e=f\n/);
  assert.doesNotMatch(text, /\nup /);
  assert.deepEqual(JSON.parse((await kmeshctl('metrics', '^up', '--stats', admin, '-o', 'json')).text), [
    { name: 'up', labels: {}, value: 1 },
  ]);
  await assert.rejects(kmeshctl('metrics', '(', '--stats', admin), (error: unknown) =>
    isKmeshError(error, 'KMESH_USAGE'),
  );
});

test('every notation of metric values is parsed', () => {
  const values = parseMetrics('a 1\nb{x="y z"} 1.5e3\nc +Inf\nd -Inf\ne{le="+Inf"} 7 1700000000000\n');
  assert.deepEqual(
    values.map(({ value }) => value),
    [1, 1500, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY, 7],
  );
});

test('check needs no daemon: it reports that none runs, and checks the machine', async () => {
  const report = JSON.parse((await kmeshctl('check', '-o', 'json', '--agent-socket', '/nowhere')).text) as {
    rows: { area: string; name: string; state: string; detail: string }[];
  };
  const areas = new Set(report.rows.map(({ area }) => area));
  assert.deepEqual([...areas].sort(), ['agent', 'capability', 'daemon', 'hook', 'mount']);
  assert.match(report.rows.find(({ area }) => area === 'daemon')?.detail ?? '', /404|no answer/);
  assert.match(report.rows.find(({ area }) => area === 'agent')?.detail ?? '', /\/nowhere does not exist/);
});

test('a watch refreshes and survives a restart of the daemon', async () => {
  const stop = new AbortController();
  const printed: string[] = [];
  let looks = 0;
  const look = (): Promise<string> => {
    looks++;
    if (looks === 2) return Promise.reject(new Error('away'));
    return Promise.resolve(`look ${looks}\n`);
  };
  const print = (text: string): void => {
    printed.push(text);
    if (printed.length === 3) stop.abort();
  };
  await repeat(look, print, { seconds: 0.1, clear: false, signal: stop.signal });
  assert.deepEqual(printed, ['look 1\n', 'away\n', 'look 3\n']);
  await assert.rejects(repeat(look, print, { seconds: 0, clear: false }), (error: unknown) =>
    isKmeshError(error, 'KMESH_USAGE'),
  );
});

test('bytes, rates and times are abbreviated', () => {
  assert.deepEqual([0, 1023, 1536, 5 * 1024 ** 3].map(byteText), ['0 B', '1023 B', '1.5 KiB', '5.0 GiB']);
  assert.deepEqual([0.4, 2048].map(byteRate), ['', '2.0 KiB/s']);
  assert.deepEqual([0.2, 59, 60, 3_661, 90_000].map(durationText), ['0s', '59s', '1m', '1h1m', '1d1h']);
});
