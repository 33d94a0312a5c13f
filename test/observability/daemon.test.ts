import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { createLab, type Host, type Lab } from '@kmesh/lab';
import { type DaemonProcess, startDaemonProcess } from '@kmesh/lab/testing/daemon/daemon-process.ts';

let lab: Lab;
let host: Host;
let daemon: DaemonProcess;

const alone = { XDS_ADDRESS: '', PROXY_MODE: 'dedicated', PROXY_WORKLOAD_INFO: 'default/app/default' };

before(async () => {
  lab = await createLab();
  host = await lab.outsideHost('node');
  daemon = startDaemonProcess({
    host,
    environment: { ...alone, ISTIO_META_ISTIO_VERSION: '1.27.3', RUST_LOG: 'warn,access=info' },
  });
  await daemon.ready();
});

after(async () => {
  await daemon?.[Symbol.asyncDispose]();
  await lab?.close();
});

const metrics = (path = '/metrics', headers: Record<string, string> = {}) =>
  daemon.http(path, { port: 15020, headers });

test('OBS-06: the daemon’s metrics at start have istio_build, process gauges, and "unstable" in every other help', async () => {
  const { status, body } = await metrics('/stats/prometheus');
  assert.equal(status, 200);
  assert.match(body, /^istio_build\{component="ztunnel",tag="1\.27\.3"\} 1$/m);
  for (const gauge of ['process_open_fds', 'process_max_fds', 'process_resident_memory_bytes']) {
    assert.match(body, new RegExp(`^${gauge} [1-9]`, 'm'));
  }
  const stable = /^(istio_build|process_\w+|istio_tcp_(connections_(opened|closed)|(received|sent)_bytes))$/;
  for (const [line, name] of body.matchAll(/^# HELP (\S+) .*$/gm)) {
    if (!stable.test(name ?? '')) assert.match(line, /unstable/);
  }
});

test('OBS-14: the daemon answers Accept with the OpenMetrics content type and ends with the EOF marker', async () => {
  const open = await metrics('/metrics', { accept: 'application/openmetrics-text' });
  assert.equal(open.headers['content-type'], 'application/openmetrics-text;charset=utf-8;version=1.0.0');
  assert.match(open.body, /\n# EOF\n$/);
  assert.equal((await metrics()).headers['content-type'], 'text/plain; charset=utf-8');
});

test('OBS-15: another path on the daemon’s metrics port is 404', async () => {
  assert.equal((await metrics('/foo')).status, 404);
});

const levels: [string, number, RegExp][] = [
  ['', 200, /warn,access=info/],
  ['?level=debug', 200, /debug,access=info/],
  ['?level=access=debug,info', 200, /info,access=debug/],
  ['?level=access:trace', 200, /access=trace/],
  ['?level=foo', 400, /foo/],
  ['?reset', 200, /warn,access=info/],
  ['?level=info&reset', 200, /info,access=info/],
];

test('OBS-03: POST /logging shows, changes, refuses and resets the filter; GET is refused', async () => {
  for (const [query, status, body] of levels) {
    const answer = await daemon.http(`/logging${query}`, { method: 'POST' });
    assert.equal(answer.status, status, query);
    assert.match(answer.body, body, query);
  }
  assert.equal((await daemon.http('/logging')).status, 405);
});

test('OBS-04: the admin port answers on loopback only', async () => {
  const neighbour = await lab.outsideHost('neighbour');
  await assert.rejects(
    neighbour.http({ host: host.addresses.v4, port: 15000, path: '/config_dump' }),
    /ECONNREFUSED/,
  );
});

test('OBS-16: with LOG_FORMAT=json every line of the daemon is one JSON object with level, time, scope and message', async () => {
  const other = await lab.outsideHost('json');
  await using speaking = startDaemonProcess({ host: other, environment: { ...alone, LOG_FORMAT: 'json' } });
  await speaking.ready();
  speaking.kill('SIGTERM');
  await speaking.ended;
  const lines = speaking.log().trimEnd().split('\n');
  assert.ok(lines.length > 0);
  for (const line of lines) {
    const { level, time, scope, message } = JSON.parse(line);
    assert.match(level, /^(error|warn|info)$/);
    assert.match(time, /^\d{4}-.*\.\d{6}Z$/);
    assert.equal(typeof scope, 'string');
    assert.equal(typeof message, 'string');
  }
});

test('OBS-21: failed connections to the control plane are counted by reason', async () => {
  const other = await lab.outsideHost('unreachable');
  await using lost = startDaemonProcess({
    host: other,
    environment: { ...alone, XDS_ADDRESS: 'https://127.0.0.1:1', XDS_ROOT_CA: 'SYSTEM' },
  });
  await lost.until('a termination is counted', async () => {
    const answer = await lost.http('/metrics', { port: 15020 }).catch(() => undefined);
    return /^istio_xds_connection_terminations_total\{reason="ConnectionError"\} [1-9]/m.test(
      answer?.body ?? '',
    );
  });
});
