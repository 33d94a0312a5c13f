import assert from 'node:assert/strict';
import { test } from 'node:test';
import { AccessLog } from '../src/log/access-log.ts';
import type { LogFormat } from '../src/log/line-format.ts';
import { LogFilter } from '../src/log/log-filter.ts';
import type { LogWriter } from '../src/log/log-writer.ts';
import { createConnectionObserver } from '../src/observer.ts';
import { client, start } from './support/mesh.ts';
import { startProbe } from './support/scrape.ts';

function memoryLog(level = 'info', format: LogFormat = 'plain') {
  const lines: string[] = [];
  const writer: LogWriter = {
    write: (line) => lines.push(line),
    room: () => undefined,
    flushSync: () => undefined,
  };
  return { lines, log: new AccessLog({ filter: new LogFilter(level), writer, format }) };
}

const hbone = start({
  destinationAddress: '10.0.0.2:15008',
  hboneAddress: '10.0.0.2:8080',
  sourceIdentity: client,
  securityPolicy: 'mutual_tls',
});
const clientUri = 'spiffe://cluster.local/ns/default/sa/client';
const serverUri = 'spiffe://cluster.local/ns/default/sa/server';
const routed = {
  route: 'default/split',
  service: { name: 'echo', namespace: 'default', hostname: 'echo.default.svc.cluster.local' },
  port: 80,
  backend: 'echo-v2.default',
};
const counts = { bytesFromClient: 11, bytesFromServer: 22, durationMilliseconds: 13.9 };

test('OBS-16: a successful call is one line in the order and quoting of the contract', () => {
  const { lines, log } = memoryLog();
  log.opened(hbone);
  log.closed(hbone, { flag: '-' }, counts);
  assert.equal(lines.length, 1);
  const [time, level, scope, message, fields] = (lines[0] ?? '').split('\t');
  assert.match(time ?? '', /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z$/);
  assert.deepEqual([level, scope, message], ['info', 'access', 'connection complete']);
  assert.equal(
    fields,
    'src.addr=10.0.0.1:41000 src.workload="client-5d4-x1" src.namespace="default" ' +
      `src.identity="${clientUri}" src.cluster="Kubernetes" dst.addr=10.0.0.2:15008 ` +
      'dst.hbone_addr=10.0.0.2:8080 dst.service="echo.default.svc.cluster.local" ' +
      `dst.workload="server-7c9-y2" dst.namespace="default" dst.identity="${serverUri}" ` +
      'dst.cluster="Kubernetes" direction="outbound" bytes_sent=11 bytes_recv=22 duration="13ms" path=tunnel\n',
  );
});

test('OBS-16: the same call as JSON has the same keys, numbers as numbers', () => {
  const { lines, log } = memoryLog('info', 'json');
  log.closed(hbone, { flag: '-' }, counts);
  const { time, ...rest } = JSON.parse(lines[0] ?? '');
  assert.match(time, /Z$/);
  assert.deepEqual(rest, {
    level: 'info',
    scope: 'access',
    message: 'connection complete',
    'src.addr': '10.0.0.1:41000',
    'src.workload': 'client-5d4-x1',
    'src.namespace': 'default',
    'src.identity': clientUri,
    'src.cluster': 'Kubernetes',
    'dst.addr': '10.0.0.2:15008',
    'dst.hbone_addr': '10.0.0.2:8080',
    'dst.service': 'echo.default.svc.cluster.local',
    'dst.workload': 'server-7c9-y2',
    'dst.namespace': 'default',
    'dst.identity': serverUri,
    'dst.cluster': 'Kubernetes',
    direction: 'outbound',
    bytes_sent: 11,
    bytes_recv: 22,
    duration: '13ms',
    path: 'tunnel',
  });
});

test('if a route chose the endpoint, the line ends with the route and the backend', () => {
  const { lines, log } = memoryLog();
  log.closed({ ...hbone, routed }, { flag: '-' }, counts);
  assert.match(lines[0] ?? '', / path=tunnel route="default\/split" backend="echo-v2\.default"\n$/);
});

test('inbound, sent bytes are the server’s; only proved identities are logged; unknown values are left out', () => {
  const { lines, log } = memoryLog();
  const inbound = start({
    reporter: 'destination',
    path: 'kernel',
    source: undefined,
    destinationService: undefined,
  });
  log.closed(inbound, { flag: '-' }, counts);
  assert.equal(
    lines[0]?.split('\t')[4],
    'src.addr=10.0.0.1:41000 dst.addr=10.0.0.2:8080 dst.workload="server-7c9-y2" dst.namespace="default" ' +
      'dst.cluster="Kubernetes" direction="inbound" bytes_sent=22 bytes_recv=11 duration="13ms" path=kernel\n',
  );
});

test('OBS-16: identities that the kernel attests are logged without mutual TLS', () => {
  const { lines, log } = memoryLog();
  log.closed(start({ path: 'kernel', sourceIdentity: client, attested: true }), { flag: '-' }, counts);
  const [line = ''] = lines;
  assert.match(line, new RegExp(`src\\.identity="${clientUri}"`));
  assert.match(line, new RegExp(`dst\\.identity="${serverUri}"`));
});

test('a source known from baggage is named by its canonical service', () => {
  const { lines, log } = memoryLog();
  const derivedSource = { serviceName: 'caller', workloadName: 'caller-deployment', namespace: 'far' };
  log.closed(start({ source: undefined, derivedSource, reporter: 'destination' }), { flag: '-' }, counts);
  assert.match(lines[0] ?? '', /src\.workload="caller" src\.namespace="far"/);
});

test('the start is logged at debug only, a failure at error with its reason', () => {
  const { lines, log } = memoryLog('info,access=debug');
  log.opened(hbone);
  const error = 'connection refused by "10.0.0.2:8080"';
  log.closed(hbone, { flag: 'CONNECT', error }, counts);
  assert.match(
    lines[0] ?? '',
    /\tdebug\taccess\tconnection opened\tsrc\.addr.*direction="outbound" path=tunnel\n$/,
  );
  assert.match(lines[1] ?? '', /\terror\taccess\tconnection complete\t/);
  assert.ok(
    lines[1]?.endsWith('duration="13ms" error="connection refused by \\"10.0.0.2:8080\\"" path=tunnel\n'),
  );
});

test('OBS-17: an early deny is a warning with four fields and changes no traffic metric', async (t) => {
  const { lines, log } = memoryLog();
  const probe = await startProbe(t);
  const observer = createConnectionObserver({ recorder: probe.recorder, accessLog: log });
  observer.earlyDeny({
    sourceAddress: '[fd00::1]:41000',
    destinationAddress: '10.0.0.2:15008',
    reporter: 'destination',
    error: 'the client has no certificate',
  });
  assert.match(
    lines[0] ?? '',
    /\twarn\taccess\tconnection failed\tsrc\.addr=\[fd00::1\]:41000 dst\.addr=10\.0\.0\.2:15008 direction="inbound" error="the client has no certificate"\n$/,
  );
  assert.equal((await probe.scrape()).includes('istio_tcp_connections'), false);
});

test('OBS-18: a connection that a drain cuts is an error line with flag -, and counts as closed, not failed', async (t) => {
  const { lines, log } = memoryLog();
  const probe = await startProbe(t);
  const observer = createConnectionObserver({ recorder: probe.recorder, accessLog: log });
  observer.opened(start()).close({ flag: '-', error: 'closed by drain' });
  assert.match(lines[0] ?? '', /\terror\taccess\tconnection complete\t.*error="closed by drain"/);
  assert.equal(await probe.sum('istio_tcp_connections_closed_total', { response_flags: '-' }), 1);
  assert.equal(await probe.sum('istio_tcp_connections_failed_total'), 0);
});

test('each connection of an observer is exactly one line', async (t) => {
  const { lines, log } = memoryLog();
  const probe = await startProbe(t);
  const observer = createConnectionObserver({ recorder: probe.recorder, accessLog: log });
  for (let index = 0; index < 100; index++) {
    const connection = observer.opened(start({ sourceAddress: `10.0.0.1:${index + 1}` }));
    connection.progress(index, 0);
    connection.close({ flag: '-' });
    connection.close({ flag: 'CONNECT', error: 'again' });
  }
  assert.equal(lines.length, 100);
  assert.equal(new Set(lines.map((line) => /src\.addr=(\S+)/.exec(line)?.[1])).size, 100);
});
