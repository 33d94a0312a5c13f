import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  type ConnectionEnd,
  type ConnectionObserver,
  type ConnectionStart,
  type EarlyDeny,
  silentObserver,
} from '@kmesh/probe';
import { client, echoService, server } from '../../../probe/test/support/mesh.ts';
import { KernelConnections } from '../../src/events/kernel-connections.ts';
import type { KernelEventResolver } from '../../src/events/kernel-resolver.ts';
import { type EventFields, encodeEvents } from './kernel-events.ts';

interface Seen {
  start: ConnectionStart;
  fromClient: number;
  fromServer: number;
  end: ConnectionEnd | undefined;
}

const resolver: KernelEventResolver = {
  podWorkload: (netns) => (netns === 1 ? client : netns === 2 ? server : undefined),
  workload: (id) => (id === 7 ? server : undefined),
  service: (id) => (id === 3 ? echoService : undefined),
  workloadByAddress: () => undefined,
  inboundService: (workload, port) => (workload === server && port === 8080 ? echoService : undefined),
};

function watch(change: Partial<KernelEventResolver> = {}) {
  const seen: Seen[] = [];
  const observer: ConnectionObserver = {
    opened(start) {
      const entry: Seen = { start, fromClient: 0, fromServer: 0, end: undefined };
      seen.push(entry);
      return {
        progress(fromClient, fromServer) {
          entry.fromClient = fromClient;
          entry.fromServer = fromServer;
        },
        relabel: () => undefined,
        close(end) {
          assert.equal(entry.end, undefined, 'closed twice');
          entry.end = end;
          entry.fromClient = end.bytesFromClient ?? entry.fromClient;
          entry.fromServer = end.bytesFromServer ?? entry.fromServer;
        },
      };
    },
    earlyDeny: () => undefined,
    socketsOpen: () => undefined,
  };
  const clock = { now: 0 };
  const connections = new KernelConnections({
    observer,
    resolver: { ...resolver, ...change },
    now: () => clock.now,
  });
  return {
    seen,
    clock,
    connections,
    batch: (...events: EventFields[]) => connections.batch(encodeEvents(events), events.length),
    live: (takenAt: number, ...events: EventFields[]) => {
      connections.beginLiveReport(takenAt);
      connections.liveFlows(encodeEvents(events), events.length);
      connections.endLiveReport();
    },
  };
}

const outbound = { cookie: 11, workload: 7, service: 3, netns: 1 };
const inbound = {
  cookie: 12,
  outbound: false,
  netns: 2,
  local: [10, 0, 0, 2],
  remote: [10, 0, 0, 1],
  localPort: 8080,
  remotePort: 41000,
} as const;

test('both sides of a connection on this node are reported, with the identities of their pods', () => {
  const { seen, batch, connections } = watch();
  batch({ kind: 'opened', ...outbound }, { kind: 'opened', ...inbound });
  batch(
    { kind: 'closed', ...outbound, sent: 11, received: 22, durationNanoseconds: 13_000_000 },
    { kind: 'closed', ...inbound, sent: 22, received: 11 },
  );
  assert.deepEqual(
    seen.map(({ start }) => [
      start.reporter,
      start.source?.name,
      start.destination?.name,
      start.destinationService?.name,
      start.sourceAddress,
      start.destinationAddress,
      start.securityPolicy,
    ]),
    [
      ['source', client.name, server.name, 'echo', '10.0.0.1:41000', '10.0.0.2:8080', 'unknown'],
      ['destination', client.name, server.name, 'echo', '10.0.0.1:41000', '10.0.0.2:8080', 'unknown'],
    ],
  );
  assert.deepEqual(
    seen.map(({ fromClient, fromServer, end }) => [fromClient, fromServer, end?.flag, end?.error]),
    [
      [11, 22, '-', undefined],
      [11, 22, '-', undefined],
    ],
  );
  assert.equal(seen[0]?.end?.durationMilliseconds, 13);
  assert.equal(connections.open, 0);
  assert.equal(connections.reconciled, 0);
});

test('identities are named where the kernel attests them: the client’s by the id that the wire kept', () => {
  const impostor = { trustDomain: 'td', namespace: 'ns', serviceAccount: 'by-id' };
  for (const [attested, expected] of [
    [true, [client, impostor]],
    [false, [undefined, undefined]],
  ] as const) {
    const { seen, batch } = watch({ identity: (id) => (id === 9 ? impostor : undefined) });
    batch(
      { kind: 'opened', ...outbound, attested },
      { kind: 'opened', ...inbound, attested, peerIdentity: attested ? 9 : 0 },
    );
    assert.deepEqual(
      seen.map(({ start }) => start.sourceIdentity),
      expected,
    );
    assert.deepEqual(
      seen.map(({ start }) => [start.attested, start.securityPolicy]),
      [
        [attested, 'unknown'],
        [attested, 'unknown'],
      ],
    );
  }
});

test('the server’s side names the service that the client dialled, not the first one with that port', () => {
  const { seen, batch } = watch({ service: (id) => (id === 4 ? other : undefined) });
  batch({ kind: 'opened', ...outbound, service: 4 }, { kind: 'opened', ...inbound });
  assert.deepEqual(
    seen.map(({ start }) => start.destinationService?.name),
    ['other', 'other'],
  );
});

test('connections of the tunnel and outside the mesh are not reported by the kernel path', () => {
  const { seen, batch } = watch();
  for (const path of ['tunnel', 'outside', 'refused'] as const) {
    batch({ kind: 'opened', ...outbound, path }, { kind: 'closed', ...outbound, path });
  }
  batch({ kind: 'opened', ...inbound }, { kind: 'closed', ...inbound });
  assert.equal(seen.length, 0);
});

test('an accepted connection from another node is reported if it reached the pod without the tunnel', () => {
  const { seen, batch } = watch({
    arrivedDirectly: (netns, ip, port) => netns === 2 && ip === '10.0.0.1' && port === 41000,
  });
  batch({ kind: 'opened', ...inbound }, { kind: 'closed', ...inbound, received: 5 });
  assert.equal(seen[0]?.start.pathReason, 'plaintext');
  assert.equal(seen[0]?.fromClient, 5);
});

test('the server side finds its client also if the client side closed in the previous batch', () => {
  const { seen, batch } = watch();
  batch({ kind: 'opened', ...outbound }, { kind: 'closed', ...outbound });
  batch({ kind: 'opened', ...inbound }, { kind: 'closed', ...inbound });
  assert.deepEqual(
    seen.map(({ start }) => start.reporter),
    ['source', 'destination'],
  );
});

test('a connection that a policy ended is reported once: by the server’s side if it was open, else by its client', () => {
  for (const [kind, events, expected] of [
    ['closed', [outbound, inbound], ['-', 'DENY']],
    ['failed', [outbound], ['DENY']],
  ] as const) {
    const { seen, batch } = watch();
    batch(...events.map((event) => ({ kind, ...event, attested: true, reason: 'denied' as const })));
    assert.deepEqual(
      seen.map(({ end }) => end?.flag),
      expected,
    );
  }
});

test('a failed connect is opened and closed with an actionable reason', () => {
  const reasons: [EventFields['reason'], RegExp][] = [
    ['refused', /^connection refused: .*\(10\.0\.0\.2:8080\)$/],
    ['timeout', /^connection timed out: .*network policies/],
    ['unreachable', /^no route/],
    ['aborted', /^the client gave up/],
    ['other', /^connection failed/],
  ];
  for (const [reason, error] of reasons) {
    const { seen, batch, connections } = watch();
    batch({ kind: 'failed', ...outbound, reason: reason ?? 'other' });
    assert.equal(seen[0]?.end?.flag, 'CONNECT');
    assert.match(seen[0]?.end?.error ?? '', error);
    assert.equal(connections.reconciled, 0, 'a failed connection has no opening event');
  }
});

test('a time-out is a failure; a reset is a normal end', () => {
  for (const [reason, flag, error] of [
    ['reset', '-', /^$/],
    ['timeout', 'CONNECT', /^connection timed out/],
    ['unreachable', 'CONNECT', /^the peer became unreachable/],
    ['other', 'CONNECT', /^connection broken off/],
  ] as const) {
    const { seen, batch } = watch();
    batch({ kind: 'opened', ...outbound }, { kind: 'closed', ...outbound, reason });
    assert.equal(seen[0]?.end?.flag, flag);
    assert.match(seen[0]?.end?.error ?? '', error);
  }
});

test('IPv6 addresses are bracketed and match from both sides', () => {
  const { seen, batch } = watch();
  const near = [0xfd, 0, ...new Array(13).fill(0), 1];
  const far = [0xfd, 0, ...new Array(13).fill(0), 2];
  batch(
    { kind: 'opened', ...outbound, local: near, remote: far },
    { kind: 'opened', ...inbound, local: far, remote: near },
  );
  assert.deepEqual(
    seen.map(({ start }) => [start.sourceAddress, start.destinationAddress]),
    [
      ['[fd00::1]:41000', '[fd00::2]:8080'],
      ['[fd00::1]:41000', '[fd00::2]:8080'],
    ],
  );
});

test('BPF-11: byte counts above 4 GiB are read as 64 bits', () => {
  const { seen, batch } = watch();
  batch(
    { kind: 'opened', ...outbound },
    { kind: 'closed', ...outbound, sent: 5 * 2 ** 30 + 3, received: 2 ** 52 + 1 },
  );
  assert.deepEqual([seen[0]?.fromClient, seen[0]?.fromServer], [5 * 2 ** 30 + 3, 2 ** 52 + 1]);
});

test('a short connection is reported once, when it ends', () => {
  const { seen, batch, connections } = watch();
  batch({ kind: 'closed', ...outbound, cookie: 0, sent: 4 });
  batch({ kind: 'closed', ...outbound, cookie: 0, sent: 5 });
  assert.deepEqual(
    seen.map(({ fromClient, end }) => [fromClient, end?.flag]),
    [
      [4, '-'],
      [5, '-'],
    ],
  );
  assert.deepEqual([connections.reconciled, connections.open], [0, 0]);
});

const other = { name: 'other', namespace: 'default', hostname: 'other.default.svc.cluster.local' };
/** The client dialled a service that is not the first one with the server's port. */
const dialledOther: Partial<KernelEventResolver> = {
  service: (id) => (id === 4 ? other : id === 3 ? echoService : undefined),
  arrivedDirectly: () => true,
  workloadByAddress: () => client,
  isServedHere: () => true,
};
const caller = { kind: 'closed', ...outbound, service: 4 } as const;
const called = { kind: 'closed', ...inbound } as const;
const stranger = { kind: 'closed', ...outbound, cookie: 77, localPort: 41999 } as const;

/** Reporter, service and bytes of each connection. */
const reported = ({ seen }: ReturnType<typeof watch>) =>
  seen.map(({ start, fromClient, end }) => [
    start.reporter,
    start.destinationService?.name,
    fromClient,
    end?.flag,
  ]);

test('the server side of a short connection waits for the client through later batches and a report', () => {
  const together = watch(dialledOther);
  together.batch({ ...called, cookie: 0, received: 4 }, { ...caller, cookie: 0, sent: 4 });
  const apart = watch(dialledOther);
  apart.batch({ ...called, cookie: 0, received: 4 });
  apart.batch();
  apart.live(10);
  apart.batch();
  assert.equal(apart.seen.length, 0);
  apart.batch({ ...caller, cookie: 0, sent: 4 });
  for (const watched of [together, apart]) {
    assert.deepEqual(reported(watched), [
      ['source', 'other', 4, '-'],
      ['destination', 'other', 4, '-'],
    ]);
  }
});

test('a server side that has ended is named when a report lists its client', () => {
  const watched = watch(dialledOther);
  watched.batch({ ...called, received: 4 });
  watched.live(10, { ...caller, kind: 'opened', sent: 4 });
  assert.deepEqual(reported(watched), [
    ['source', 'other', 4, undefined],
    ['destination', 'other', 4, '-'],
  ]);
});

test('a server side that is listed before its client is waits for the next report', () => {
  const listedAgain = watch(dialledOther);
  listedAgain.live(10, { ...called, kind: 'opened', received: 4 });
  assert.equal(listedAgain.seen.length, 0);
  listedAgain.live(20, { ...called, kind: 'opened', received: 5 }, { ...caller, kind: 'opened', sent: 5 });
  assert.deepEqual(reported(listedAgain), [
    ['source', 'other', 5, undefined],
    ['destination', 'other', 5, undefined],
  ]);
  const ended = watch(dialledOther);
  ended.live(10, { ...called, kind: 'opened', received: 4 });
  ended.batch({ ...called, received: 6 });
  ended.batch({ ...caller, sent: 6 });
  ended.live(20);
  assert.deepEqual(reported(ended), [
    ['source', 'other', 6, '-'],
    ['destination', 'other', 6, '-'],
  ]);
  assert.deepEqual([ended.connections.open, ended.connections.reconciled], [0, 0]);
});

test('a server side that was listed once, without a client or an end, is counted', () => {
  const byReports = watch(dialledOther);
  byReports.live(10, { ...called, kind: 'opened', received: 4 });
  byReports.live(20);
  assert.deepEqual(reported(byReports), [['destination', 'echo', 4, undefined]]);
  byReports.live(30);
  assert.deepEqual(reported(byReports), [['destination', 'echo', 4, '-']]);
  const byEnd = watch(dialledOther);
  byEnd.live(10, { ...called, kind: 'opened', received: 4 });
  byEnd.connections.close(true);
  assert.deepEqual(reported(byEnd), [['destination', 'echo', 4, '-']]);
});

test('bytes of a server side that an earlier daemon counted are not counted again if its client is late', () => {
  for (const last of ['report', 'end'] as const) {
    const watched = watch(dialledOther);
    const counted = new Map<number, { sent: number; received: number }>([
      [called.cookie, { sent: 0, received: 100 }],
    ]);
    watched.connections.continueFrom((cookie) => counted.get(cookie));
    watched.live(10, { ...called, kind: 'opened', received: 110 });
    // The report is this daemon's, and its record of the connection replaced the earlier daemon's.
    counted.clear();
    if (last === 'report') watched.live(20, { ...called, kind: 'opened', received: 120 });
    else watched.batch({ ...caller, sent: 120 }, { ...called, received: 120 });
    const server = watched.seen.find(({ start }) => start.reporter === 'destination');
    assert.deepEqual([server?.start.earlier?.fromClient, server?.fromClient], [100, 120], last);
  }
});

test('a server side finds its client for two reports after the client has closed, with any number of batches', () => {
  const watched = watch(dialledOther);
  watched.batch({ ...caller, sent: 4, timeNanoseconds: 1000 });
  for (let index = 0; index < 100; index++) watched.batch();
  watched.live(10);
  for (let index = 0; index < 100; index++) watched.batch();
  watched.live(20, { ...called, kind: 'opened', received: 4 });
  assert.deepEqual(reported(watched)[1], ['destination', 'other', 4, undefined]);
});

test('a client that closed before the server’s side opened is another connection from the same port', () => {
  const second = 1_000_000_000;
  const watched = watch(dialledOther);
  watched.batch({ ...caller, sent: 4, timeNanoseconds: second });
  watched.batch({
    ...called,
    cookie: 0,
    received: 5,
    timeNanoseconds: 3 * second,
    durationNanoseconds: second,
  });
  assert.equal(watched.seen.length, 1);
  watched.batch({ ...outbound, kind: 'closed', cookie: 0, sent: 5, timeNanoseconds: 3 * second });
  assert.deepEqual(reported(watched).slice(1), [
    ['source', 'echo', 5, '-'],
    ['destination', 'echo', 5, '-'],
  ]);
});

test('a server side without a client is reported on an idle node too', ({ mock }) => {
  mock.timers.enable({ apis: ['setTimeout'] });
  const watched = watch(dialledOther);
  const reporters = () => watched.seen.map(({ start }) => start.reporter);
  watched.batch({ ...called, cookie: 0 });
  watched.clock.now = 500;
  watched.batch({ ...called, cookie: 0, remotePort: 41077 });
  watched.clock.now = 1999;
  mock.timers.tick(1999);
  assert.deepEqual(reporters(), []);
  watched.clock.now = 2000;
  mock.timers.tick(1);
  assert.deepEqual(reporters(), ['destination']);
  watched.clock.now = 2500;
  mock.timers.tick(500);
  assert.deepEqual(reporters(), ['destination', 'destination']);
  watched.connections.close();
});

test('a server side without a client is reported by its address, after a time limit or at the end', () => {
  const begin = () => {
    const watched = watch(dialledOther);
    watched.batch({ ...called, cookie: 0 });
    watched.clock.now = 1999;
    watched.batch(stranger);
    watched.live(10);
    assert.deepEqual(
      watched.seen.map(({ start }) => start.reporter),
      ['source'],
    );
    return watched;
  };
  const byBatch = begin();
  byBatch.clock.now = 2000;
  byBatch.batch();
  const byReport = begin();
  byReport.clock.now = 2000;
  byReport.live(20);
  const byEnd = begin();
  byEnd.connections.close();
  for (const { seen } of [byBatch, byReport, byEnd]) {
    assert.deepEqual(
      seen.slice(1).map(({ start, end }) => [start.reporter, start.source, end?.flag]),
      [['destination', client, '-']],
    );
  }
});

test('a bounded number of server sides waits for clients, and each is reported once', () => {
  const { seen, batch, connections } = watch(dialledOther);
  const ports = Array.from({ length: 5000 }, (_, index) => 10_000 + index);
  for (const port of ports) batch({ ...called, cookie: 0, remotePort: port });
  assert.equal(seen.length, 5000 - 4096);
  connections.close();
  assert.deepEqual(
    seen.map(({ start }) => start.sourceAddress),
    ports.map((port) => `10.0.0.1:${port}`),
  );
});

test('live flows update the counts of open connections and reveal opened ones', () => {
  const { seen, batch, live, connections } = watch();
  batch({ kind: 'opened', ...outbound });
  const unknown = { kind: 'opened', ...outbound, cookie: 99, localPort: 41001, sent: 7 } as const;
  live(10, { kind: 'opened', ...outbound, sent: 100 }, unknown);
  assert.equal(seen.length, 2);
  live(20, unknown, { kind: 'opened', ...outbound, sent: 120 });
  assert.deepEqual(
    seen.map(({ fromClient, end }) => [fromClient, end]),
    [
      [120, undefined],
      [7, undefined],
    ],
  );
  assert.equal(connections.reconciled, 0);
});

test('live flows match both sides of a connection, in either order', () => {
  const { seen, live, connections } = watch();
  const flows: EventFields[] = [
    { kind: 'opened', ...inbound, received: 9 },
    { kind: 'opened', ...outbound, sent: 9 },
  ];
  live(10, ...flows);
  assert.deepEqual(
    seen.map(({ start, fromClient }) => [start.reporter, start.pathReason, fromClient]),
    [
      ['source', 'balanced', 9],
      ['destination', undefined, 9],
    ],
  );
  assert.equal(connections.reconciled, 0);
});

test('a connection that closes while a report is taken is not opened again by it', () => {
  const { seen, batch, connections } = watch();
  batch({ kind: 'opened', ...outbound });
  connections.beginLiveReport(10);
  batch({ kind: 'closed', ...outbound, sent: 5 });
  connections.liveFlows(encodeEvents([{ kind: 'opened', ...outbound, sent: 5 }]), 1);
  connections.endLiveReport();
  connections.beginLiveReport(20);
  connections.endLiveReport();
  assert.equal(seen.length, 1);
  assert.deepEqual([connections.reconciled, connections.open], [0, 0]);
});

test('a workload or an address outside the mesh that is dialled directly is named by its reason', () => {
  const { seen, batch } = watch();
  batch(
    { kind: 'opened', ...outbound, service: 0 },
    { kind: 'opened', ...outbound, cookie: 13, service: 0, workload: 0 },
  );
  assert.deepEqual(
    seen.map(({ start }) => start.pathReason),
    ['workload', 'passthrough'],
  );
});

test('an accepted connection from the tunnel, or from the pod to itself, is not reported by the kernel path', () => {
  const { seen, batch } = watch({ arrivedDirectly: () => true });
  batch({ kind: 'opened', ...inbound, path: 'tunnel' });
  batch({ kind: 'opened', ...inbound, cookie: 14, path: 'outside' });
  assert.equal(seen.length, 0);
});

test('a lost close event is detected when two reports of live flows lack the connection; a late event then counts nothing', () => {
  const { seen, batch, live, connections } = watch();
  batch({ kind: 'opened', ...outbound, timeNanoseconds: 5 });
  live(10, { kind: 'opened', ...outbound, sent: 50 });
  live(20);
  assert.equal(seen[0]?.end, undefined);
  live(30);
  assert.deepEqual(
    seen.map(({ end, fromClient }) => [end?.flag, fromClient]),
    [['-', 50]],
  );
  batch({ kind: 'closed', ...outbound, sent: 60 });
  assert.equal(seen.length, 1);
  assert.equal(connections.reconciled, 1);
});

test('a connection opened after a report was begun is not missing from it', () => {
  const { seen, batch, live } = watch();
  batch({ kind: 'opened', ...outbound, timeNanoseconds: 100 });
  live(50);
  live(60);
  live(70);
  assert.equal(seen[0]?.end, undefined);
});

test('sums are correct for a connection reported by two events, by its end only, or by live flows only', () => {
  const { seen, batch, live, connections } = watch();
  let sum = 0;
  let time = 1000;
  let lost = 0;
  for (let index = 0; index < 500; index++) {
    const flow = { ...outbound, cookie: 1000 + index, localPort: 1024 + index, timeNanoseconds: time++ };
    const bytes = (index * 7919) % 100_000;
    sum += bytes;
    const which = index % 10;
    if (which !== 0) batch({ kind: 'opened', ...flow });
    if (which === 1) live(time, { kind: 'opened', ...flow, sent: bytes });
    else batch({ kind: 'closed', ...flow, sent: bytes });
    if (which === 1) lost++;
  }
  live(time++);
  live(time++);
  assert.equal(seen.length, 500);
  assert.ok(seen.every(({ end }) => end !== undefined));
  assert.equal(
    seen.reduce((total, { fromClient }) => total + fromClient, 0),
    sum,
  );
  assert.equal(connections.reconciled, lost);
  assert.equal(connections.open, 0);
});

test('of a connection that an earlier daemon counted only later bytes are counted, whichever source reports it first', () => {
  const earlier = () => {
    const watched = watch();
    watched.connections.continueFrom((cookie) =>
      cookie === outbound.cookie ? { sent: 100, received: 7 } : undefined,
    );
    return watched;
  };
  const byReports = earlier();
  byReports.live(10, { kind: 'opened', ...outbound, sent: 110 });
  byReports.live(20, { kind: 'opened', ...outbound, sent: 150, received: 7 });
  byReports.batch({ kind: 'closed', ...outbound, sent: 160, received: 9 });
  const byEvent = earlier();
  byEvent.batch({ kind: 'closed', ...outbound, sent: 160, received: 9 });
  const between = earlier();
  between.live(10, { kind: 'opened', ...outbound, sent: 110 });
  between.batch({ kind: 'closed', ...outbound, sent: 160, received: 9 });
  for (const { seen, connections } of [byReports, byEvent, between]) {
    assert.deepEqual(
      seen.map(({ start, fromClient, fromServer, end }) => [
        start.earlier,
        fromClient,
        fromServer,
        end?.flag,
      ]),
      [[{ fromClient: 100, fromServer: 7 }, 160, 9, '-']],
    );
    assert.equal(connections.reconciled, 0);
  }
});

test('connections that are open when a daemon ends are left to the next one', () => {
  const { seen, batch, connections } = watch();
  batch({ kind: 'opened', ...outbound });
  connections.beginLiveReport(10);
  const flows: EventFields[] = [
    { kind: 'opened', ...outbound, sent: 5 },
    { kind: 'opened', ...outbound, cookie: 99, localPort: 41001, sent: 7 },
  ];
  connections.liveFlows(encodeEvents(flows), flows.length);
  connections.endLiveReport();
  connections.close(true);
  assert.deepEqual(
    seen.map(({ fromClient, end }) => [fromClient, end?.continued]),
    [
      [5, true],
      [7, true],
    ],
  );
  assert.equal(connections.open, 0);
});

const split = { route: 'shop/split', service: echoService, port: 80, backend: 'echo-v2.shop' };

test('a connection that the kernel balanced has the route that chose its endpoint', () => {
  const asked: unknown[] = [];
  const { batch, seen } = watch({
    routed: (...question) => {
      asked.push(question);
      return split;
    },
  });
  batch({ kind: 'closed', cookie: 1, netns: 1, workload: 7, service: 3 });
  assert.deepEqual(asked, [[client, { service: echoService, port: 80 }, server]]);
  assert.deepEqual(seen[0]?.start.routed, split);
});

test('a connect that the hook refused is an early deny of its pod, with the reason of the mesh state', () => {
  const denies: EarlyDeny[] = [];
  const observer = { ...silentObserver, earlyDeny: (deny: EarlyDeny) => void denies.push(deny) };
  const refusal = (pod: unknown, ip: string, port: number) => ({
    error: `${pod === client} ${ip} ${port}`,
    routed: split,
  });
  const connections = new KernelConnections({ observer, resolver: { ...resolver, refusal } });
  const six = [0xfd, 0, ...new Array(13).fill(0), 9];
  const refused: EventFields[] = [
    { kind: 'refused', cookie: 1, netns: 1 },
    { kind: 'refused', cookie: 2, netns: 9, dialled: six, dialledPort: 81 },
  ];
  connections.batch(encodeEvents(refused), refused.length);
  assert.deepEqual(denies, [
    {
      reporter: 'source',
      sourceAddress: `${client.addresses[0]}:0`,
      destinationAddress: '10.96.0.1:80',
      error: 'true 10.96.0.1 80',
      routed: split,
      pod: client,
    },
    {
      reporter: 'source',
      sourceAddress: '[::]:0',
      destinationAddress: '[fd00::9]:81',
      error: 'Nothing in the mesh serves this address and port.',
      routed: undefined,
      pod: undefined,
    },
  ]);
  assert.equal(connections.open, 0);
});
