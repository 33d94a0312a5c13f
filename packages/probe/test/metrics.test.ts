import assert from 'node:assert/strict';
import { once } from 'node:events';
import { test } from 'node:test';
import { Worker } from 'node:worker_threads';
import type { Workload } from '@kmesh/api';
import { eventually } from '@kmesh/api/testing';
import { createControlMetrics } from '../src/metrics/control-metrics.ts';
import { createDnsMetrics } from '../src/metrics/dns-metrics.ts';
import { WorkloadPresence } from '../src/metrics/presence.ts';
import { MetricRecorder, retireAfterMilliseconds } from '../src/metrics/recorder.ts';
import { createRevocationMetrics } from '../src/metrics/revocation-metrics.ts';
import { createConnectionObserver } from '../src/observer.ts';
import { client, echoService, server, start, workload } from './support/mesh.ts';
import { samples, startProbe, sumOf } from './support/scrape.ts';

const opened = 'istio_tcp_connections_opened_total';
const closed = 'istio_tcp_connections_closed_total';

test('OBS-06: metrics at start have istio_build, positive process gauges, and "unstable" in every other help', async (t) => {
  const control = createControlMetrics('1.27.0', {
    tables: () => [{ table: 'frontends', entries: 3, maximum: 100 }],
    hooks: () => [{ program: 'connect4', runs: 5, nanoseconds: 2_000_000_000 }],
    eventsLost: () => 0,
    connectionsReconciled: () => 0,
    loopDelay: () => ({ median: 0.001, p99: 0.002, longest: 0.003 }),
  });
  control.xdsMessage('type.googleapis.com/istio.workload.Address', 1234);
  const probe = await startProbe(t, { collect: control.collect });
  probe.observer.opened(start()).close({ flag: 'CONNECT', error: 'refused' });
  const text = await probe.scrape();
  assert.equal(samples(text, 'istio_build')[0], 'istio_build{component="ztunnel",tag="1.27.0"} 1');
  for (const name of ['process_open_fds', 'process_max_fds', 'process_resident_memory_bytes']) {
    assert.ok(sumOf(text, name) > 0, name);
  }
  assert.equal(sumOf(text, 'istio_xds_message_bytes_total'), 1234);
  assert.equal(sumOf(text, 'kmesh_hook_seconds_total'), 2);
  assert.ok(text.includes('kmesh_event_loop_delay_seconds{quantile="1"} 0.003\n'));
  const stable =
    /^(istio_build|process_.*|istio_tcp_(connections_opened|connections_closed|received_bytes|sent_bytes))$/;
  const families = [...text.matchAll(/^# HELP (\S+) (.*)$/gm)];
  assert.ok(families.length > 20);
  for (const [line, name] of families) {
    if (!stable.test(name ?? '')) assert.match(line, /unstable/);
  }
});

test('OBS-07: a connection counts as opened at once and as closed when it closes', async (t) => {
  const probe = await startProbe(t);
  const connection = probe.observer.opened(start());
  assert.deepEqual([await probe.sum(opened), await probe.sum(closed)], [1, 0]);
  connection.close({ flag: '-' });
  connection.close({ flag: '-' });
  assert.deepEqual([await probe.sum(opened), await probe.sum(closed)], [1, 1]);
});

test('OBS-08: 11 bytes each way are 11 received and 11 sent in all families, 0 from the start', async (t) => {
  const probe = await startProbe(t);
  const connection = probe.observer.opened(start());
  const families = [
    'istio_tcp_received_bytes_total',
    'istio_tcp_sent_bytes_total',
    'kmesh_tcp_workload_received_bytes_total',
    'kmesh_tcp_workload_sent_bytes_total',
    'kmesh_tcp_received_bytes_total',
    'kmesh_tcp_sent_bytes_total',
  ];
  const atStart = await probe.scrape();
  for (const family of families) assert.match(samples(atStart, family)[0] ?? '', / 0$/, family);
  connection.close({ flag: '-', bytesFromClient: 11, bytesFromServer: 11 });
  const atEnd = await probe.scrape();
  for (const family of families) assert.match(samples(atEnd, family)[0] ?? '', / 11$/, family);
});

test('OBS-09: bytes are counted while the connection is open, and never decrease', async (t) => {
  const probe = await startProbe(t);
  const connection = probe.observer.opened(start());
  connection.progress(1000, 50);
  assert.equal(await probe.sum('istio_tcp_received_bytes_total'), 1000);
  connection.progress(900, 60);
  assert.equal(await probe.sum('istio_tcp_received_bytes_total'), 1000);
  assert.equal(await probe.sum('istio_tcp_sent_bytes_total'), 60);
  connection.close({ flag: '-', bytesFromClient: 1500, bytesFromServer: 60 });
  assert.equal(await probe.sum('istio_tcp_received_bytes_total'), 1500);
});

test('OBS-10: a failed connect is closed and failed with flag CONNECT and opened with -', async (t) => {
  const probe = await startProbe(t);
  probe.observer.opened(start()).close({ flag: 'CONNECT', error: 'connection refused' });
  const text = await probe.scrape();
  assert.equal(sumOf(text, opened, { response_flags: '-' }), 1);
  assert.equal(sumOf(text, closed, { response_flags: 'CONNECT' }), 1);
  assert.equal(sumOf(text, closed, { response_flags: '-' }), 0);
  assert.equal(sumOf(text, 'istio_tcp_connections_failed_total', { response_flags: 'CONNECT' }), 1);
  assert.equal(sumOf(text, 'kmesh_tcp_workload_connections_failed_total'), 1);
  assert.equal(sumOf(text, 'kmesh_tcp_connections_failed_total'), 1);
  assert.equal(samples(text, 'istio_tcp_connections_failed_total', { response_flags: '-' }).length, 0);
});

test('BPF-11: counters above 4 GiB stay exact', async (t) => {
  const probe = await startProbe(t);
  const connection = probe.observer.opened(start());
  for (const bytes of [2 ** 32, 2 ** 32 + 1, 5 * 2 ** 30 + 7, 9_007_199_254_740_991]) {
    connection.progress(bytes, 1_000_000_001);
    const text = await probe.scrape();
    assert.match(samples(text, 'istio_tcp_received_bytes_total')[0] ?? '', new RegExp(` ${bytes}$`));
    assert.match(samples(text, 'istio_tcp_sent_bytes_total')[0] ?? '', / 1000000001$/);
  }
});

test('a reused address or a changed resource never relabels an open connection', async (t) => {
  const probe = await startProbe(t);
  const old = probe.observer.opened(start());
  const other = workload({ name: 'other-1', workloadName: 'other', canonicalName: 'other' });
  const next = probe.observer.opened(start({ source: other }));
  old.close({ flag: '-', bytesFromClient: 7 });
  next.close({ flag: '-', bytesFromClient: 5 });
  const received = 'istio_tcp_received_bytes_total';
  assert.equal(await probe.sum(received, { source_workload: 'client' }), 7);
  assert.equal(await probe.sum(received, { source_workload: 'other' }), 5);
});

test('a resource that is replaced by an equal one keeps its series', async (t) => {
  const probe = await startProbe(t);
  probe.observer.opened(start()).close({ flag: '-' });
  probe.observer.opened(start({ source: { ...client }, destination: { ...server } })).close({ flag: '-' });
  assert.deepEqual(
    samples(await probe.scrape(), opened).map((line) => line.slice(-2)),
    [' 2'],
  );
});

test('round-trip times and retransmissions are counted once', async (t) => {
  const probe = await startProbe(t);
  const connection = probe.observer.opened(start({ path: 'kernel' }));
  const measure = { smoothedRoundTripMicroseconds: 60, minimalRoundTripMicroseconds: 40 };
  connection.progress(1, 1, { ...measure, retransmissions: 2 });
  connection.close({ flag: '-', transport: { ...measure, retransmissions: 3 } });
  const text = await probe.scrape();
  assert.equal(sumOf(text, 'kmesh_tcp_retransmissions_total'), 3);
  assert.equal(sumOf(text, 'kmesh_tcp_round_trip_seconds_count'), 1);
  assert.equal(sumOf(text, 'kmesh_tcp_round_trip_seconds_bucket', { le: '0.00005' }), 0);
  assert.equal(sumOf(text, 'kmesh_tcp_round_trip_seconds_bucket', { le: '0.0001' }), 1);
  assert.equal(sumOf(text, 'kmesh_tcp_round_trip_seconds_bucket', { le: '+Inf' }), 1);
  assert.equal(sumOf(text, 'kmesh_connections_path_total', { path: 'kernel', reason: 'kernel' }), 1);
});

test("the connections of each backend of a route are counted once, beside the route's weights", async (t) => {
  const shares = [
    { service: echoService, port: 80, backend: 'v1', share: 0.9 },
    { service: echoService, port: 80, backend: '', share: 0.1 },
  ];
  const control = createControlMetrics('1.27.0', {
    routes: () => [
      { route: 'default/split', shares, problems: [] },
      { route: 'default/other', shares: [], problems: ['http.rewrite: needs a waypoint'] },
    ],
  });
  const probe = await startProbe(t, { collect: control.collect });
  const routed = { route: 'default/split', service: echoService, port: 80, backend: 'v1' };
  probe.observer.opened(start({ routed })).close({ flag: '-' });
  probe.observer.opened(start()).close({ flag: '-' });
  const where = {
    sourceAddress: '10.0.0.1:0',
    destinationAddress: '10.96.0.1:80',
    reporter: 'source',
  } as const;
  probe.observer.earlyDeny({ ...where, error: 'refused', routed: { ...routed, backend: '' } });
  const text = await probe.scrape();
  const of = (backend: string) => ({
    route: 'default/split',
    destination_service: echoService.hostname,
    destination_service_namespace: echoService.namespace,
    destination_service_name: echoService.name,
    destination_port: '80',
    backend_service: backend,
  });
  assert.equal(sumOf(text, 'kmesh_route_connections_total', of('v1')), 1);
  assert.equal(sumOf(text, 'kmesh_route_connections_total'), 2);
  assert.equal(sumOf(text, 'kmesh_route_refusals_total', of('-')), 1);
  assert.equal(sumOf(text, 'kmesh_route_share', of('v1')), 0.9);
  assert.equal(sumOf(text, 'kmesh_route_share', of('-')), 0.1);
  const reason = 'http.rewrite: needs a waypoint';
  assert.equal(sumOf(text, 'kmesh_route_problems', { route: 'default/other', reason }), 1);
});

test('series of departed workloads are retired 15 minutes after their last event, and only those', async (t) => {
  const probe = await startProbe(t);
  const gone = workload({ name: 'gone-1', workloadName: 'gone', canonicalName: 'gone' });
  const mesh = new Map([client, server, gone].map((one) => [one.uid, one]));
  const presence = presenceOf(mesh);
  probe.observer.opened(start()).close({ flag: '-' });
  const departed = probe.observer.opened(start({ source: gone }));
  const open = () => probe.sum(opened, { source_workload: 'gone' });
  probe.recorder.sweep(presence, 0);
  mesh.delete(gone.uid);
  probe.recorder.sweep(presence, retireAfterMilliseconds * 2);
  assert.equal(await open(), 1, 'a live connection keeps its series');
  departed.close({ flag: '-' });
  probe.recorder.sweep(presence, retireAfterMilliseconds * 2 + 1);
  probe.recorder.sweep(presence, retireAfterMilliseconds * 3);
  assert.equal(await open(), 1, 'not before the stated time');
  probe.recorder.sweep(presence, retireAfterMilliseconds * 3 + 1);
  assert.equal((await probe.scrape()).includes('source_workload="gone"'), false);
  assert.equal(await probe.sum(opened, { source_workload: 'client' }), 1);
  probe.recorder.sweep(presence, retireAfterMilliseconds * 4);
  probe.observer.opened(start({ source: gone })).close({ flag: '-' });
  assert.equal(await open(), 1, 'reused cells start at zero');
  assert.equal(await probe.sum(opened, { source_workload: 'client' }), 1);
});

test('beyond the limit no series is created, refusals are counted, and known series continue', async (t) => {
  const probe = await startProbe(t, { maximumSeries: 30 });
  for (let index = 0; index < 5; index++) {
    const source = workload({ name: `client-${index}`, workloadName: `client-${index}` });
    probe.observer.opened(start({ source })).close({ flag: '-', bytesFromClient: 1 });
  }
  probe.observer
    .opened(start({ source: workload({ name: 'client-0', workloadName: 'client-0' }) }))
    .close({ flag: '-' });
  const text = await probe.scrape();
  assert.ok(text.split('\n').filter((line) => /^(istio|kmesh)_tcp/.test(line)).length <= 30);
  assert.equal(sumOf(text, opened, { source_workload: 'client-0' }), 2);
  assert.ok(sumOf(text, 'kmesh_metrics_series_dropped_total') > 0);
});

test("peers beyond a pod's share are counted as other, in one set of series, and another pod has its own", async (t) => {
  const { server } = await startProbe(t);
  const recorder = new MetricRecorder(server.recorderChannel());
  const overflows: string[] = [];
  const observer = createConnectionObserver({
    recorder,
    share: { perPod: 100, onOverflow: ({ namespace, name }) => overflows.push(`${namespace}/${name}`) },
  });
  const greedy = workload({ name: 'greedy', workloadName: 'greedy' });
  const modest = workload({ name: 'modest', workloadName: 'modest' });
  const peers = Array.from({ length: 500 }, (_, index) =>
    workload({ name: `peer-${index}`, workloadName: `peer-${index}` }),
  );
  for (const destination of peers) {
    observer.opened(start({ source: greedy, destination })).close({ flag: '-', bytesFromClient: 1 });
    const failed = { flag: 'CONNECT', error: 'refused' } as const;
    observer.opened(start({ source: greedy, destination })).close(failed);
    observer
      .opened(start({ reporter: 'destination', source: destination, destination: greedy }))
      .close(failed);
  }
  for (const destination of peers.slice(0, 3))
    observer.opened(start({ source: modest, destination })).close({ flag: '-' });
  const text = await (await fetch(`http://127.0.0.1:${server.port}/metrics`)).text();
  const lines = (...labels: string[]) =>
    text
      .split('\n')
      .filter((line) => /^(istio|kmesh)_tcp/.test(line) && labels.every((label) => line.includes(label)));
  const own = lines('"greedy"').filter((line) => !line.includes('"other"'));
  assert.ok(own.length > 50 && own.length <= 100, `${own.length} series`);
  assert.ok(lines('"greedy"', '"other"').length <= 60, `${lines('"greedy"', '"other"').length} of other`);
  assert.equal(sumOf(text, opened, { source_workload: 'greedy', reporter: 'source' }), 1_000, 'none is lost');
  assert.equal(sumOf(text, 'istio_tcp_connections_failed_total', { source_workload: 'greedy' }), 500);
  for (const peer of ['peer-0', 'peer-1', 'peer-2'])
    assert.equal(sumOf(text, opened, { source_workload: 'modest', destination_workload: peer }), 1);
  assert.ok(overflows.length > 0 && overflows.every((pod) => pod.endsWith('/greedy')));
});

test('two recorders that count the same label set are one series, also after one of them has ended', async (t) => {
  const probe = await startProbe(t);
  const another = () => {
    const recorder = new MetricRecorder(probe.server.recorderChannel());
    return { recorder, observer: createConnectionObserver({ recorder }) };
  };
  const second = another();
  probe.observer.opened(start()).close({ flag: '-', bytesFromClient: 10 });
  second.observer.opened(start()).close({ flag: '-', bytesFromClient: 5 });
  const text = await probe.scrape();
  assert.equal(samples(text, opened).length, 1);
  assert.equal(sumOf(text, 'istio_tcp_received_bytes_total'), 15);
  second.recorder.close();
  const third = another();
  third.observer.opened(start()).close({ flag: '-', bytesFromClient: 1 });
  await eventually(
    'the third keeps counting',
    async () => (await probe.sum('istio_tcp_received_bytes_total')) === 16,
  );
  third.recorder.close();
});

test('OBS-21: terminations of the xDS connection are counted by reason', async (t) => {
  const control = createControlMetrics('unknown');
  control.xdsTerminated('Reconnect');
  control.xdsTerminated('ConnectionError');
  control.xdsTerminated('Reconnect');
  const probe = await startProbe(t, { collect: control.collect });
  const text = await probe.scrape();
  assert.equal(sumOf(text, 'istio_xds_connection_terminations_total', { reason: 'Reconnect' }), 2);
  assert.equal(sumOf(text, 'istio_xds_connection_terminations_total', { reason: 'ConnectionError' }), 1);
  assert.equal(text.includes('istio_xds_message'), false, 'families without samples are absent');
});

test('OBS-20: an answered and a forwarded DNS query are two requests, one upstream request and one duration', async (t) => {
  const probe = await startProbe(t);
  const dns = createDnsMetrics(probe.recorder);
  const question = { queryType: 'A', protocol: 'UDP', source: client };
  dns.request(question);
  dns.request(question);
  dns.upstream(question, 0.02, false);
  dns.onDemand(client, 'example.com');
  const text = await probe.scrape();
  const labels = { request_query_type: 'a', request_protocol: 'udp', source_canonical_service: 'client' };
  assert.equal(sumOf(text, 'istio_dns_requests_total', labels), 2);
  assert.equal(sumOf(text, 'istio_dns_upstream_requests_total', labels), 1);
  assert.equal(sumOf(text, 'istio_dns_upstream_failures_total', labels), 0);
  assert.equal(sumOf(text, 'istio_dns_upstream_request_duration_seconds_count', labels), 1);
  assert.equal(sumOf(text, 'istio_dns_upstream_request_duration_seconds_bucket', { le: '0.01' }), 0);
  assert.equal(sumOf(text, 'istio_dns_upstream_request_duration_seconds_bucket', { le: '5.0' }), 1);
  assert.equal(
    sumOf(text, 'istio_on_demand_dns_total', { source_workload: 'client', hostname: 'example.com' }),
    1,
  );
});

test('open sockets go up and down, revocations are counted by reporter', async (t) => {
  const probe = await startProbe(t);
  const revocations = createRevocationMetrics(probe.recorder);
  probe.observer.socketsOpen('source', 1);
  probe.observer.socketsOpen('source', 1);
  probe.observer.socketsOpen('source', -1);
  revocations.rejected('destination');
  const text = await probe.scrape();
  assert.equal(sumOf(text, 'istio_tcp_sockets_open', { reporter: 'source' }), 1);
  assert.equal(sumOf(text, 'istio_crl_policy_rejections_total', { reporter: 'destination' }), 1);
});

test('labels from the inner response of double HBONE apply from then on, and the opening keeps its labels', async (t) => {
  const probe = await startProbe(t);
  const connection = probe.observer.opened(start());
  connection.progress(10, 0);
  connection.relabel({
    derivedDestination: { workloadName: 'remote', serviceName: 'remote', namespace: 'far' },
    destinationIdentity: { trustDomain: 'elsewhere', namespace: 'far', serviceAccount: 'remote' },
  });
  connection.close({ flag: '-', bytesFromClient: 30 });
  const text = await probe.scrape();
  assert.equal(sumOf(text, opened, { destination_workload: 'server' }), 1);
  assert.equal(sumOf(text, closed, { destination_workload: 'server' }), 0);
  assert.equal(sumOf(text, closed, { destination_principal: 'spiffe://elsewhere/ns/far/sa/remote' }), 1);
  assert.equal(sumOf(text, 'istio_tcp_received_bytes_total', { destination_workload: 'remote' }), 20);
});

test('a workload is present while one of its pods is', () => {
  const pods = new Map([
    ['a', workload({ name: 'a', uid: 'a' })],
    ['b', workload({ name: 'b', uid: 'b' })],
  ]);
  const presence = presenceOf(pods);
  const present = (...subjects: string[]): boolean[] => {
    presence.begin();
    const answers = subjects.map((subject) => presence.has(subject));
    presence.end();
    return answers;
  };
  assert.deepEqual(present('default/client', 'pod/a', 'pod/never seen'), [true, true, false]);
  pods.delete('a');
  assert.deepEqual(present('default/client', 'pod/a', 'pod/b'), [true, false, true]);
  pods.set('b', workload({ name: 'b', uid: 'b', workloadName: 'renamed' }));
  assert.deepEqual(present('default/client', 'default/renamed'), [false, true]);
});

/** The presence of the workloads in `mesh`, by uid. */
function presenceOf(mesh: ReadonlyMap<string, Workload>): WorkloadPresence {
  return new WorkloadPresence({ workload: (uid) => mesh.get(uid), workloads: () => mesh.values() });
}

test('counts of a thread that has ended are kept, even without a scrape in between', async (t) => {
  const probe = await startProbe(t);
  const channel = probe.server.recorderChannel();
  const worker = new Worker(new URL('./support/recording-thread.ts', import.meta.url), {
    workerData: { channel },
    transferList: [channel.port],
  });
  await once(worker, 'exit');
  await eventually('it is counted', async () => (await probe.sum(opened)) === 1);
  assert.equal(await probe.sum('istio_tcp_received_bytes_total'), 9);
});
