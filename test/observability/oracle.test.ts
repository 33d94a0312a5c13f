import assert from 'node:assert/strict';
import { test } from 'node:test';
import { eventually } from '@kmesh/api/testing';
import { converseAll, expectedOf, planOf, servePlan } from '@kmesh/lab/testing/probe/plans.ts';
import { type AccessLogLine, startProbeWorld } from '@kmesh/lab/testing/probe/world.ts';

const connections = 10_000;

test(`${connections} connections of known sizes and endings: every metric and every log line equals what was sent`, async () => {
  await using world = await startProbeWorld();
  await world.server.listen({ port: 8080 }, servePlan);
  const [v4, v6] = world.service.vips;
  const host = { v4: v4?.ip ?? '', v6: v6?.ip ?? '' };
  // Reports of live flows meanwhile must not change the sums.
  const reporting = setInterval(() => void world.reports?.take(), 100);
  await converseAll({ client: world.client, host, refusesConnect: true }, connections, 128);
  clearInterval(reporting);
  const expected = expectedOf(Array.from({ length: connections }, (_, index) => planOf(index)));
  const { all, established, requests, replies, count } = expected;
  const expectedLines = established + all;
  await eventually(`${expectedLines} lines`, () => world.lines.length >= expectedLines);
  await world.settled();
  assert.equal(world.ring.counters.losses, 0);
  assert.equal(world.kernel.open, 0);
  assert.equal(world.kernel.reconciled, 0);

  const lines = world.log();
  assert.equal(lines.length, expectedLines, 'one line per connection and side');
  const [outbound, inbound] = [
    lines.filter(({ direction }) => direction === 'outbound'),
    lines.filter(({ direction }) => direction === 'inbound'),
  ];
  const bytes = (of: readonly AccessLogLine[], field: 'bytes_sent' | 'bytes_recv') =>
    of.reduce((sum, line) => sum + line[field], 0);
  assert.equal(outbound.length, all);
  assert.equal(inbound.length, established);
  assert.deepEqual([bytes(outbound, 'bytes_sent'), bytes(outbound, 'bytes_recv')], [requests, replies]);
  assert.deepEqual([bytes(inbound, 'bytes_sent'), bytes(inbound, 'bytes_recv')], [replies, requests]);
  const errors = (of: readonly AccessLogLine[], pattern: RegExp) =>
    of.filter(({ error }) => pattern.test(error ?? ''));
  assert.equal(errors(outbound, /^connection refused/).length, count('refused'));
  assert.equal(lines.filter(({ level }) => level === 'error').length, count('refused'));
  for (const line of lines) {
    assert.deepEqual(
      [line.path, line['src.workload'], line['dst.workload'], line['dst.service']],
      ['kernel', 'client', 'server', 'echo.default.svc.cluster.local'],
    );
  }

  const metric = await world.metrics();
  for (const family of ['istio_tcp', 'kmesh_tcp_workload', 'kmesh_tcp']) {
    assert.deepEqual(
      ['source', 'destination'].map((reporter) =>
        [
          'connections_opened',
          'connections_closed',
          'connections_failed',
          'received_bytes',
          'sent_bytes',
        ].map((name) => metric(`${family}_${name}_total`, `reporter="${reporter}"`)),
      ),
      [
        [all, all, count('refused'), requests, replies],
        [established, established, 0, requests, replies],
      ],
      family,
    );
  }
  assert.equal(metric('kmesh_connections_path_total', 'path="kernel"'), all);
});
