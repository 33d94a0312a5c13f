import assert from 'node:assert/strict';
import type { Socket } from 'node:net';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Pod } from '@kmesh/lab';
import { type AccessLogLine, startProbeWorld } from './probe-world.ts';

const connections = 10_000;
const inFlight = 128;
/** Longer than a delayed acknowledgement: what was received counts as sent before a reset follows. */
const acknowledgedMilliseconds = 250;

type Ending =
  | 'client closes'
  | 'server closes'
  | 'half-close'
  | 'client resets'
  | 'server resets'
  | 'refused';
const endings: readonly Ending[] = [
  'client closes',
  'server closes',
  'half-close',
  'refused',
  'client closes',
  'client resets',
  'server closes',
  'server resets',
];

interface Plan {
  readonly ending: Ending;
  readonly request: number;
  readonly reply: number;
  readonly family: 'v4' | 'v6';
}

function planOf(index: number): Plan {
  return {
    ending: endings[index % endings.length] ?? 'client closes',
    // At least the header that tells the server what to do.
    request: 16 + ((index * 7919) % 3000),
    reply: 1 + ((index * 104_729) % 5000),
    family: (index >> 3) % 2 === 0 ? 'v4' : 'v6',
  };
}

const established = (plan: Plan) => plan.ending !== 'refused';

/** Reads until `bytes` have come or the other side has ended; gives the count. */
function received(socket: Socket, bytes: number): Promise<number> {
  return new Promise((resolve) => {
    let count = 0;
    const done = () => resolve(count);
    socket.on('data', (data) => {
      count += data.length;
      if (count >= bytes) done();
    });
    socket.once('end', done);
    socket.once('close', done);
  });
}

/** The server's part: the first 16 bytes of a request are the number of the connection. */
function serve(socket: Socket): void {
  socket.on('error', () => undefined);
  let plan: Plan | undefined;
  let count = 0;
  let header = '';
  socket.on('data', (data) => {
    if (header.length < 16) header += data.toString('latin1').slice(0, 16 - header.length);
    if (plan === undefined && header.length === 16) plan = planOf(Number(header));
    count += data.length;
    if (plan === undefined || count !== plan.request) return;
    const reply = Buffer.alloc(plan.reply, 'r');
    if (plan.ending === 'server closes') socket.end(reply);
    else if (plan.ending !== 'half-close') socket.write(reply);
    if (plan.ending === 'server resets') setTimeout(() => socket.resetAndDestroy(), acknowledgedMilliseconds);
  });
  socket.on('end', () => {
    if (plan?.ending === 'half-close') socket.end(Buffer.alloc(plan.reply, 'r'));
    else socket.end();
  });
}

async function converse(client: Pod, host: string, index: number): Promise<void> {
  const plan = planOf(index);
  if (plan.ending === 'refused') {
    await assert.rejects(client.connect({ host, port: 81 }));
    return;
  }
  const socket = await client.connect({ host, port: 80 });
  socket.on('error', () => undefined);
  const closed = new Promise((resolve) => socket.once('close', resolve));
  const reply = received(socket, plan.reply);
  socket.write(String(index).padStart(16).padEnd(plan.request, 'q'));
  if (plan.ending === 'half-close') socket.end();
  assert.equal(await reply, plan.reply, `${index} ${plan.ending}`);
  if (plan.ending === 'client resets') {
    await sleep(acknowledgedMilliseconds);
    socket.resetAndDestroy();
  } else if (plan.ending !== 'server resets') {
    socket.end();
  }
  await closed;
}

test(`${connections} connections of known sizes and endings: every metric and every log line equals what was sent`, async () => {
  await using world = await startProbeWorld();
  await world.server.listen({ port: 8080 }, serve);
  const plans = Array.from({ length: connections }, (_, index) => planOf(index));
  let next = 0;
  const host = { v4: world.service.vips[0]?.ip ?? '', v6: world.service.vips[1]?.ip ?? '' };
  await Promise.all(
    Array.from({ length: inFlight }, async () => {
      while (next < connections) {
        const index = next++;
        await converse(world.client, host[planOf(index).family], index);
      }
    }),
  );
  const open = plans.filter(established);
  const expectedLines = open.length * 2 + (plans.length - open.length);
  for (let waited = 0; world.lines.length < expectedLines && waited < 300; waited++) await sleep(10);
  assert.equal(world.ring.counters.losses, 0);
  assert.equal(world.kernel.open, 0);
  assert.equal(world.kernel.reconciled, 0);

  const sumOf = (values: readonly Plan[], field: 'request' | 'reply') =>
    values.reduce((sum, plan) => sum + plan[field], 0);
  const [requests, replies] = [sumOf(open, 'request'), sumOf(open, 'reply')];
  const count = (ending: Ending) => plans.filter((plan) => plan.ending === ending).length;

  const lines = world.log();
  assert.equal(lines.length, expectedLines, 'one line per connection and side');
  const [outbound, inbound] = [
    lines.filter(({ direction }) => direction === 'outbound'),
    lines.filter(({ direction }) => direction === 'inbound'),
  ];
  const bytes = (of: readonly AccessLogLine[], field: 'bytes_sent' | 'bytes_recv') =>
    of.reduce((sum, line) => sum + line[field], 0);
  assert.equal(outbound.length, plans.length);
  assert.equal(inbound.length, open.length);
  assert.deepEqual([bytes(outbound, 'bytes_sent'), bytes(outbound, 'bytes_recv')], [requests, replies]);
  assert.deepEqual([bytes(inbound, 'bytes_sent'), bytes(inbound, 'bytes_recv')], [replies, requests]);
  const errors = (of: readonly AccessLogLine[], pattern: RegExp) =>
    of.filter(({ error }) => pattern.test(error ?? ''));
  assert.equal(errors(outbound, /^connection refused/).length, count('refused'));
  assert.equal(errors(outbound, /^connection reset by peer/).length, count('server resets'));
  assert.equal(errors(inbound, /^connection reset by peer/).length, count('client resets'));
  const failed = count('refused') + count('server resets') + count('client resets');
  assert.equal(lines.filter(({ level }) => level === 'error').length, failed);
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
        [plans.length, plans.length, count('refused') + count('server resets'), requests, replies],
        [open.length, open.length, count('client resets'), requests, replies],
      ],
      family,
    );
  }
  assert.equal(metric('kmesh_connections_path_total', 'path="kernel"'), plans.length);
});
