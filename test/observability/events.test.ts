import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { eventually } from '@kmesh/api/testing';
import { emitterResolver, startEventEmitter } from '@kmesh/lab/testing/probe/emitter.ts';
import { EventRing } from '@kmesh/linux';
import { createConnectionObserver, MetricRecorder, startScrapeServer } from '@kmesh/probe';
import { KernelConnections, kmeshEventLayout } from '@kmesh/runtime';

/** A ring that is drained into metrics, and the metrics. */
async function start(t: TestContext, openings: boolean) {
  const server = await startScrapeServer({ host: '127.0.0.1', port: 0 });
  t.after(() => server.close());
  const recorder = new MetricRecorder(server.recorderChannel());
  const connections = new KernelConnections({
    observer: createConnectionObserver({ recorder }),
    resolver: emitterResolver(),
  });
  const emitter = await startEventEmitter(openings);
  const ring = new EventRing(emitter.ring, {
    recordSize: kmeshEventLayout.size,
    losses: emitter.losses,
    onBatch: ({ bytes, count }) => connections.batch(bytes, count),
  });
  ring.reference(true);
  t.after(() => {
    ring.close();
    emitter[Symbol.dispose]();
  });
  return {
    ring,
    emitter,
    connections,
    /** Resolves when every event was either handed over or lost. */
    async settled(events: number) {
      await eventually('every event was read or lost', () => {
        const { records, losses, pending } = ring.counters;
        return records + losses >= events && pending === 0;
      });
      const { records, losses } = ring.counters;
      return { records, losses };
    },
    async sum(metric: string) {
      const text = await (await fetch(`http://127.0.0.1:${server.port}/metrics`)).text();
      return text
        .split('\n')
        .filter((line) => line.startsWith(`${metric}{`))
        .reduce((total, line) => total + Number(line.slice(line.lastIndexOf(' ') + 1)), 0);
    },
  };
}

function sumBelow(connections: number, modulus: number): number {
  let sum = 0;
  for (let connection = 0; connection < connections; connection++) sum += connection % modulus;
  return sum;
}

for (const openings of [false, true]) {
  const reported = openings ? 'openings and ends' : 'ends';
  test(`BPF-08: 100,000 ${reported} per second arrive without a loss and every byte is counted`, async (t) => {
    const { emitter, settled, sum, connections } = await start(t, openings);
    const began = performance.now();
    while (emitter.emitted < 100_000) {
      const due = Math.floor((performance.now() - began) * 100);
      if (due > emitter.emitted) emitter.emit(due - emitter.emitted);
      await sleep(1);
    }
    if (emitter.emitted % 2 === 1) emitter.emit(1);
    const total = emitter.emitted;
    assert.deepEqual(await settled(total), { records: total, losses: 0 });
    const count = openings ? total / 2 : total;
    assert.equal(await sum('istio_tcp_connections_opened_total'), count);
    assert.equal(await sum('istio_tcp_connections_closed_total'), count);
    assert.equal(await sum('istio_tcp_received_bytes_total'), sumBelow(count, 1000));
    assert.equal(await sum('istio_tcp_sent_bytes_total'), sumBelow(count, 500));
    assert.equal(connections.open, 0);
    assert.equal(connections.reconciled, 0);
  });
}

test('BPF-08: when the ring overflows the loss counter is exact and the connections stay consistent', async (t) => {
  const { emitter, settled, sum, connections } = await start(t, true);
  // The reader is this thread: it reads no event while it emits.
  emitter.emit(300_000);
  const total = emitter.emitted;
  const { records, losses } = await settled(total);
  assert.ok(losses > 100_000, `${losses} lost`);
  assert.equal(records + losses, total);
  const opened = await sum('istio_tcp_connections_opened_total');
  const closed = await sum('istio_tcp_connections_closed_total');
  assert.equal(opened - closed, connections.open, 'open connections are those without a close event');
  // Reports of live flows that lack them: their close events were lost.
  const now = Number(process.hrtime.bigint());
  for (let report = 0; report < 2; report++) {
    connections.beginLiveReport(now);
    connections.endLiveReport();
  }
  assert.equal(connections.open, 0);
  assert.equal(
    await sum('istio_tcp_connections_opened_total'),
    await sum('istio_tcp_connections_closed_total'),
  );
});
