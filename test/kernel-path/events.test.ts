import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { once } from 'node:events';
import net from 'node:net';
import { test } from 'node:test';
import { promisify } from 'node:util';
import { eventually } from '@kmesh/api/testing';
import { buildNative } from '@kmesh/lab/testing/kernel/dialer.ts';
import {
  decodeKernelEvent,
  KERNEL_EVENT_SIZE,
  type KernelEvent,
} from '@kmesh/lab/testing/kernel/kernel-event.ts';
import {
  createPodNamespace,
  type KernelPath,
  service,
  startKernelPath,
  workload,
} from '@kmesh/lab/testing/kernel/kernel-path.ts';
import { connectSocket, EventRing, type NetworkNamespace, openListener } from '@kmesh/linux';
import { MeshState } from '@kmesh/orchestration';

const client = workload({ uid: 'client', addresses: ['10.0.0.9'] });

/** Runs `action` in an enrolled pod of a mesh with one service, and returns what was reported. */
async function record(
  action: (pod: NetworkNamespace) => Promise<void>,
  wanted: number,
  reported: 'ends' | 'all' = 'ends',
): Promise<{ events: KernelEvent[]; path: KernelPath }> {
  const view = new MeshState();
  await using path = await startKernelPath({ view });
  using pod = createPodNamespace();
  await path.tables.apply(
    view.apply([
      { kind: 'workload', workload: client },
      {
        kind: 'service',
        service: service({
          hostname: 'web',
          vips: [{ network: '', ip: '10.1.0.1' }],
          ports: new Map([[80, 8080]]),
        }),
      },
      {
        kind: 'workload',
        workload: workload({
          uid: 'web-1',
          addresses: ['10.2.0.1'],
          services: new Map([['default/web', new Map()]]),
        }),
      },
    ]),
  );
  path.tables.enrol(pod.cookie, client, false);
  path.tables.setEvents(reported);
  const events: KernelEvent[] = [];
  using ring = new EventRing(path.object.map('events'), {
    recordSize: KERNEL_EVENT_SIZE,
    losses: path.object.map('events_lost'),
    onBatch: ({ count, bytes }) => {
      for (let index = 0; index < count; index++) {
        const event = decodeKernelEvent(bytes, index * KERNEL_EVENT_SIZE);
        if (event.namespaceCookie === pod.cookie) events.push(event);
      }
    },
  });
  await action(pod);
  await eventually(`${wanted} events`, () => events.length >= wanted);
  assert.equal(ring.counters.losses, 0);
  for (const event of events) {
    assert.equal(event.workloadId === 0 || path.tables.workloadUid(event.workloadId) !== undefined, true);
  }
  return { events, path };
}

/** One exchange of a client and a server of the pod. */
async function exchangeOnce(pod: NetworkNamespace): Promise<void> {
  const server = net.createServer((socket) => {
    socket.on('data', () => {});
    socket.end('x'.repeat(1234));
  });
  server.listen({ fd: openListener({ namespace: pod, address: '0.0.0.0', port: 8080 }) });
  await once(server, 'listening');
  const fd = await connectSocket({ namespace: pod, address: '10.1.0.1', port: 80 });
  const socket = new net.Socket({ fd, readable: true, writable: true });
  socket.resume();
  socket.end('y'.repeat(777));
  await once(socket, 'close');
  server.close();
  await once(server, 'close');
}

test('open events are reported on request, and both records name the socket', async () => {
  const { events } = await record(exchangeOnce, 4, 'all');
  const cookies = (wanted: string) =>
    events.filter(({ kind }) => kind === wanted).map(({ socketCookie }) => socketCookie);
  assert.equal(new Set(cookies('opened')).size, 2);
  assert.deepEqual(new Set(cookies('closed')), new Set(cookies('opened')));
});

test('a connection is reported once, when it closes, from both ends, with exact bytes', async () => {
  const { events, path } = await record(exchangeOnce, 2);
  const closed = events.filter(({ kind }) => kind === 'closed');
  assert.equal(events.length, 2);
  assert.equal(closed.length, 2);
  const outbound = closed.find(({ direction }) => direction === 'outbound');
  const inbound = closed.find(({ direction }) => direction === 'inbound');
  assert.ok(outbound !== undefined && inbound !== undefined);
  assert.deepEqual(outbound.dialled, { ip: '10.1.0.1', port: 80 });
  assert.deepEqual(outbound.remote, { ip: '10.2.0.1', port: 8080 });
  assert.equal(path.tables.serviceKey(outbound.serviceId), 'default/web');
  assert.equal(path.tables.workloadUid(outbound.workloadId), 'web-1');
  assert.equal(outbound.path, 'kernel');
  assert.equal(outbound.closeReason, 'normal');
  assert.deepEqual([outbound.bytesSent, outbound.bytesReceived], [777n, 1234n]);
  assert.deepEqual([inbound.bytesSent, inbound.bytesReceived], [1234n, 777n]);
  assert.ok(outbound.duration > 0n && outbound.smoothedRoundTrip < 1_000_000);
});

test('a connection that never opens is reported as failed, with the reason', async () => {
  const { events } = await record(async (pod) => {
    await assert.rejects(connectSocket({ namespace: pod, address: '10.1.0.1', port: 80 }), /ECONNREFUSED/);
  }, 1);
  assert.deepEqual(
    events.map(({ kind, closeReason, dialled }) => [kind, closeReason, dialled.ip]),
    [['failed', 'refused', '10.1.0.1']],
  );
});

test('BPF-11: the bytes of a transfer of more than 4 GiB are counted exactly', async () => {
  const bytes = 4n * 1024n ** 3n + 12_345n;
  const { events } = await record(async (pod) => {
    await promisify(execFile)(buildNative('bulk'), [pod.path, '8080', '10.1.0.1', '80', `${bytes}`]);
  }, 2);
  const closed = events.filter(({ kind }) => kind === 'closed');
  assert.equal(closed.find(({ direction }) => direction === 'outbound')?.bytesSent, bytes);
  assert.equal(closed.find(({ direction }) => direction === 'inbound')?.bytesReceived, bytes);
});
