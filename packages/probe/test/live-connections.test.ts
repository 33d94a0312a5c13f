import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Workload } from '@kmesh/api';
import {
  type ConnectionEnd,
  type ConnectionObserver,
  type ConnectionStart,
  silentObserver,
} from '../src/connection.ts';
import { LiveConnections } from '../src/live-connections.ts';

const client = { uid: 'client', name: 'client' } as Workload;
const server = { uid: 'server', name: 'server' } as Workload;
const web = { name: 'web', namespace: 'shop', hostname: 'web.shop.svc' };
const ended: ConnectionEnd = { flag: '-' };

function start(change: Partial<ConnectionStart> = {}): ConnectionStart {
  return {
    reporter: 'source',
    path: 'kernel',
    sourceAddress: '10.0.0.1:4000',
    destinationAddress: '10.0.0.2:80',
    source: client,
    destination: server,
    destinationService: web,
    securityPolicy: 'unknown',
    ...change,
  };
}

test('open connections are counted for the workload of the reporting side, and closed ones leave no trace', () => {
  const live = new LiveConnections(silentObserver);
  const both = [live.opened(start()), live.opened(start({ reporter: 'destination' }))];
  assert.deepEqual([live.count, live.countOf('client'), live.countOf('server')], [2, 1, 1]);
  for (const connection of both) connection.close(ended);
  for (const connection of both) connection.close(ended);
  assert.deepEqual([live.count, live.countOf('client'), live.countOf('server')], [0, 0, 0]);
});

test('a service counts opened and failed connections of its clients, until it is removed', () => {
  const live = new LiveConnections(silentObserver);
  live.opened(start()).close(ended);
  live.opened(start()).close({ flag: 'CONNECT', error: 'refused' });
  live.opened(start({ reporter: 'destination' })).close(ended);
  assert.deepEqual(live.serviceConnections('shop/web.shop.svc'), { opened: 2, failed: 1 });
  live.forgetService('shop/web.shop.svc');
  assert.deepEqual(live.serviceConnections('shop/web.shop.svc'), { opened: 0, failed: 0 });
});

test('the rate is that between the last two reports, and 0 without reports', () => {
  let now = 0;
  const live = new LiveConnections(silentObserver, () => now);
  const connection = live.opened(start());
  now = 1_000;
  connection.progress(1_000, 0);
  now = 3_000;
  connection.progress(1_000, 5_000);
  const [seen] = live.look(10).busiest;
  assert.deepEqual(
    [seen?.bytesPerSecondFromClient, seen?.bytesPerSecondFromServer, seen?.bytesFromServer, seen?.seconds],
    [0, 2_500, 5_000, 3],
  );
  now = 20_000;
  assert.equal(live.look(10).busiest[0]?.bytesPerSecondFromServer, 0);
});

test('reports in quick succession are joined', () => {
  let now = 0;
  const live = new LiveConnections(silentObserver, () => now);
  const connection = live.opened(start());
  for (now = 10; now <= 1_000; now += 10) connection.progress(now, 0);
  const rate = live.look(1).busiest[0]?.bytesPerSecondFromClient ?? 0;
  assert.ok(Math.abs(rate - 1_000) < 1, `${rate}`);
});

test('the busiest are listed first, up to the requested number, in any order of arrival', () => {
  let now = 0;
  const live = new LiveConnections(silentObserver, () => now);
  const rates = Array.from({ length: 1_000 }, (_, index) => (index * 7919) % 1_000);
  const connections = rates.map((rate) => live.opened(start({ sourceAddress: `c:${rate}` })));
  now = 1_000;
  for (const [index, connection] of connections.entries()) connection.progress(rates[index] ?? 0, 0);
  assert.deepEqual(
    live.look(5).busiest.map((connection) => connection.bytesPerSecondFromClient),
    [999, 998, 997, 996, 995],
  );
  assert.deepEqual(
    live.look(5, ({ sourceAddress }) => sourceAddress === 'c:3').busiest.map((one) => one.bytesFromClient),
    [3],
  );
  assert.equal(live.look(5).total, 1_000);
});

test('every call is forwarded to the next observer', () => {
  const seen: string[] = [];
  const behind: ConnectionObserver = {
    opened: () => {
      seen.push('opened');
      return {
        progress: () => seen.push('progress'),
        relabel: () => seen.push('relabel'),
        close: () => seen.push('close'),
      };
    },
    earlyDeny: () => seen.push('earlyDeny'),
    socketsOpen: () => seen.push('socketsOpen'),
  };
  const live = new LiveConnections(behind);
  const connection = live.opened(start());
  connection.progress(1, 1);
  connection.relabel({});
  connection.close(ended);
  live.earlyDeny({ sourceAddress: '', destinationAddress: '', reporter: 'source', error: '' });
  live.socketsOpen('source', 1);
  assert.deepEqual(seen, ['opened', 'progress', 'relabel', 'close', 'earlyDeny', 'socketsOpen']);
});
