import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { fstatSync, openSync } from 'node:fs';
import { test } from 'node:test';
import { MessageChannel } from 'node:worker_threads';
import { eventually } from '@kmesh/api/testing';
import type { RecorderChannel } from '@kmesh/probe';
import dnsPacket from 'dns-packet';
import { Budget } from '../src/forward/forwarder.ts';
import { NameTable } from '../src/names/resolve.ts';
import { ServedPod } from '../src/server/served-pod.ts';
import { service } from './support/mesh.ts';
import { addressesOf, answerOf, clientPod, codeOf, PodNetwork, queryOf } from './support/pod-network.ts';

const resolver = '198.51.100.1';
const second = '198.51.100.2';

test('names of the mesh are answered over UDP and TCP, as the mesh changes', async () => {
  await using network = await PodNetwork.start({
    mesh: [service('ns1/web.ns1.svc.cluster.local', ['nw1/10.96.0.1'])],
  });
  const first = await network.query('web');
  assert.equal(first.flag_aa, true);
  assert.deepEqual(addressesOf(first), ['10.96.0.1']);
  assert.deepEqual(addressesOf(await network.queryTcp('WEB.ns1.svc.cluster.local')), ['10.96.0.1']);
  network.state.apply([service('ns1/web.ns1.svc.cluster.local', ['nw1/10.96.0.2'])]);
  await network.proxy.ready();
  assert.deepEqual(addressesOf(await network.query('web')), ['10.96.0.2']);
  network.state.apply([{ kind: 'removeService', key: 'ns1/web.ns1.svc.cluster.local' }]);
  await network.proxy.ready();
  assert.equal(codeOf(await network.query('web')), 'SERVFAIL');
});

test('DNS-23: an answer that is truncated over UDP is complete over TCP', async () => {
  const vips = [...Array(256).keys()].map((last) => `nw1/10.30.0.${last}`);
  await using network = await PodNetwork.start({ mesh: [service('ns1/many.example', vips)] });
  const short = await network.query('many.example');
  assert.equal(short.flag_tc, true);
  assert.ok(addressesOf(short).length < 256);
  assert.equal(new Set(addressesOf(await network.queryTcp('many.example'))).size, 256);
});

test('DNS-28: STATUS and responses are refused, and messages from port 53 get no answer', async () => {
  await using network = await PodNetwork.start();
  const status = queryOf('a.b', 'A');
  status[2] = 0x10;
  assert.equal(codeOf(dnsPacket.decode(await network.send(status))), 'NOTIMP');
  const response = queryOf('a.b', 'A');
  response[2] = 0x80;
  assert.equal(codeOf(dnsPacket.decode(await network.send(response))), 'FORMERR');
});

test('DNS-04: other names are answered by the resolver, not authoritative, with its response code and all its records', async () => {
  await using network = await PodNetwork.start({ resolvers: [resolver] });
  network.resolver(resolver, (query, reply) => {
    const extra = { type: 'A' as const, name: 'more.example', ttl: 5, data: '9.9.9.9' };
    reply(answerOf(query, '203.0.113.7', { additionals: [extra] }));
  });
  const answer = await network.query('www.bing.com');
  assert.deepEqual(addressesOf(answer), ['203.0.113.7']);
  assert.equal(answer.flag_aa, false);
  assert.equal(answer.id, 4_711);
  assert.equal(answer.questions?.[0]?.name, 'www.bing.com');
  assert.equal(answer.additionals?.length, 1);
  assert.deepEqual(addressesOf(await network.queryTcp('www.bing.com')), ['203.0.113.7']);
});

test('DNS-04: a client that ends its side of a TCP connection gets the answer of the resolver, and then the end', async () => {
  await using network = await PodNetwork.start({
    resolvers: [resolver],
    mesh: [service('ns1/web.ns1.svc.cluster.local', ['nw1/10.96.0.1'])],
  });
  const asked = Promise.withResolvers<() => void>();
  network.resolver(resolver, (query, reply) => asked.resolve(() => reply(answerOf(query, '203.0.113.7'))));
  const answer = network.queryTcp('www.bing.com', { halfClose: true });
  const reply = await asked.promise;
  // A later connection was answered: the end of the first one has been seen.
  await network.queryTcp('web.ns1.svc.cluster.local', { halfClose: true });
  reply();
  assert.deepEqual(addressesOf(await answer), ['203.0.113.7']);
});

test('DNS-01: types other than A and AAAA are forwarded, also for names of the mesh', async () => {
  await using network = await PodNetwork.start({
    resolvers: [resolver],
    mesh: [service('ns1/web.ns1.svc.cluster.local', ['nw1/10.96.0.1'])],
  });
  network.resolver(resolver, (query, reply) => reply(answerOf(query, '', { answers: [], flags: 3 })));
  const answer = await network.query('web.ns1', 'NS');
  assert.equal(codeOf(answer), 'NXDOMAIN');
  assert.equal(answer.flag_aa, false);
});

test('when every resolver refuses, the client sees the refusal', async () => {
  await using network = await PodNetwork.start({ resolvers: [resolver, second] });
  for (const address of [resolver, second])
    network.resolver(address, (query, reply) => reply(answerOf(query, '', { answers: [], flags: 5 })));
  assert.equal(codeOf(await network.query('www.bing.com')), 'REFUSED');
});

test('forged answers are dropped: another id, another question, another source', async () => {
  await using network = await PodNetwork.start({ resolvers: [resolver] });
  network.resolver(resolver, (query, reply) => {
    const wrongId = answerOf(query, '6.6.6.6');
    wrongId[0] = (wrongId[0] as number) ^ 1;
    reply(wrongId);
    reply(answerOf(query, '6.6.6.6', { questions: [{ name: 'evil.example', type: 'A' }] }));
    reply(Buffer.from('nonsense'));
    reply(answerOf(query, '203.0.113.7'));
  });
  assert.deepEqual(addressesOf(await network.query('www.bing.com')), ['203.0.113.7']);
});

test('a query is repeated over TCP if the resolver does not keep the letter case of the name', async () => {
  await using network = await PodNetwork.start({ resolvers: [resolver] });
  const lowered = (query: Buffer, address: string): Buffer => {
    const { questions = [] } = dnsPacket.decode(query);
    return answerOf(query, address, {
      questions: questions.map((question) => ({ ...question, name: question.name.toLowerCase() })),
    });
  };
  network.resolver(
    resolver,
    (query, reply) => reply(lowered(query, '6.6.6.6')),
    (query, socket) => socket.write(framed(lowered(query, '203.0.113.9'))),
  );
  assert.deepEqual(addressesOf(await network.query('abcdefghijklmnopqrstuvw.example')), ['203.0.113.9']);
});

test('a truncated answer is fetched over TCP for a client that can take it, and passed on to one that cannot', async () => {
  await using network = await PodNetwork.start({ resolvers: [resolver] });
  const big = (query: Buffer): Buffer =>
    answerOf(query, '', {
      answers: [...Array(60).keys()].map((last) => ({
        type: 'A' as const,
        name: 'a.b',
        ttl: 1,
        data: `203.0.113.${last}`,
      })),
    });
  network.resolver(
    resolver,
    (query, reply) => reply(answerOf(query, '', { answers: [], flags: dnsPacket.TRUNCATED_RESPONSE })),
    (query, socket) => socket.write(framed(big(query))),
  );
  assert.equal((await network.query('big.example')).flag_tc, true);
  const whole = await network.query('big.example', 'A', {
    additionals: [
      {
        type: 'OPT',
        name: '.',
        udpPayloadSize: 4096,
        flags: 0,
        extendedRcode: 0,
        ednsVersion: 0,
        flag_do: false,
        options: [],
      },
    ],
  });
  assert.equal(addressesOf(whole).length, 60);
  assert.equal(addressesOf(await network.queryTcp('big.example')).length, 60);
});

test('an answer of 64 kB is passed on over TCP, and truncated over UDP', async () => {
  await using network = await PodNetwork.start({ resolvers: [resolver] });
  const huge = (query: Buffer, bytes: number): Buffer => {
    const head = answerOf(query, '', { answers: [] });
    head[7] = 1;
    const length = bytes - head.length - 11;
    const record = Buffer.alloc(11 + length);
    record[2] = 16;
    record[4] = 1;
    record.writeUInt16BE(length, 9);
    return Buffer.concat([head, record]);
  };
  network.resolver(
    resolver,
    (query, reply) => reply(huge(query, 60_000)),
    (query, socket) => socket.write(framed(huge(query, 65_535))),
  );
  const answer = await network.send(queryOf('huge.example', 'TXT'));
  assert.ok(answer.length <= 512);
  assert.equal(dnsPacket.decode(answer).flag_tc, true);
});

test('a removed pod has no listener, and one that is added again has', async () => {
  await using network = await PodNetwork.start({
    mesh: [service('ns1/web.ns1.svc.cluster.local', ['nw1/10.96.0.1'])],
  });
  network.proxy.removePod('client');
  network.proxy.addPod('client', clientPod, network.namespace);
  await network.proxy.ready();
  assert.deepEqual(addressesOf(await network.query('web')), ['10.96.0.1']);
});

test('a pod whose loopback is down is removed, and the answering thread continues', async () => {
  await using network = await PodNetwork.start({
    mesh: [service('ns1/web.ns1.svc.cluster.local', ['nw1/10.96.0.1'])],
  });
  const loopback = (state: 'up' | 'down') =>
    execFileSync('nsenter', [`--net=${network.namespace.path}`, 'ip', 'link', 'set', 'lo', state]);
  loopback('down');
  network.proxy.removePod('client');
  // The thread processes both in order: the first is done when the second is.
  network.proxy.addPod('client', clientPod, network.namespace);
  await network.proxy.ready();
  loopback('up');
  assert.deepEqual(addressesOf(await network.query('web')), ['10.96.0.1']);
  assert.deepEqual(network.warnings, []);
});

test('DNS-33: a second instance takes over without a lost query', async () => {
  await using network = await PodNetwork.start({
    mesh: [service('ns1/web.ns1.svc.cluster.local', ['nw1/10.96.0.1'])],
  });
  const old = network.proxy;
  let asking = true;
  let asked = 0;
  const failures: string[] = [];
  const traffic = (async () => {
    while (asking) {
      asked++;
      await network.send(queryOf('web', 'A'), 2_000).catch((error: unknown) => failures.push(String(error)));
    }
  })();
  const next = await network.successor();
  const before = asked;
  await old.drain(2_000);
  await old.close();
  const goal = asked + 50;
  while (asked < goal) await new Promise((resolve) => setImmediate(resolve));
  asking = false;
  await traffic;
  await next.close();
  assert.deepEqual(failures, []);
  assert.ok(asked > before);
});

test('DNS-26: a client with an IPv4-mapped address is answered as one with IPv4', async () => {
  await using network = await PodNetwork.start({
    mesh: [service('ns1/web.ns1.svc.cluster.local', ['nw1/10.96.0.1'])],
    settings: { address: { host: '::', port: 15_053 } },
  });
  assert.deepEqual(addressesOf(await network.query('web')), ['10.96.0.1']);
});

test('PRC-19: a pod without IPv6 on its loopback is served on 127.0.0.1', async () => {
  await using network = await PodNetwork.start({
    mesh: [service('ns1/web.ns1.svc.cluster.local', ['nw1/10.96.0.1'])],
    withoutIpv6: true,
  });
  assert.deepEqual(addressesOf(await network.query('web')), ['10.96.0.1']);
});

test('log lines name the client, the query and the source of the answer', async () => {
  await using network = await PodNetwork.start({
    resolvers: [resolver],
    mesh: [service('ns1/web.ns1.svc.cluster.local', ['nw1/10.96.0.1'])],
  });
  network.resolver(resolver, (query, reply) => reply(answerOf(query, '203.0.113.7')));
  while (!network.debug.some((line) => line.includes('ns1/web'))) await network.query('web');
  await network.query('www.bing.com');
  await eventually('the line of the last query', () =>
    network.debug.some((line) => line.includes('www.bing.com')),
  );
  const line = network.debug.find((text) => text.includes('ns1/web')) ?? '';
  for (const part of [
    '"src.workload":"client"',
    '"src.namespace":"ns1"',
    '"query":"A"',
    '"domain":"web."',
    '10.96.0.1',
  ])
    assert.ok(line.includes(part), line);
  assert.ok(network.debug.some((text) => text.includes(`forwarded, NOERROR by ${resolver}`)));
});

function framed(message: Uint8Array): Buffer {
  const head = Buffer.alloc(2);
  head.writeUInt16BE(message.length);
  return Buffer.concat([head, message]);
}

test('a thread that fails is restarted with the mesh, the pods and new sockets, and the log says why', async () => {
  const ports = [new MessageChannel(), new MessageChannel()];
  const counters = [undefined, new BigInt64Array(new SharedArrayBuffer(24))];
  let starts = 0;
  await using network = await PodNetwork.start({
    mesh: [service('ns1/web.ns1.svc.cluster.local', ['nw1/10.96.0.1'])],
    proxy: {
      // The first thread fails with the first query that it counts.
      recorder: () =>
        ({
          port: ports[starts]?.port1,
          budget: { counters: counters[starts++] },
        }) as unknown as RecorderChannel,
    },
  });
  const lost = network.client();
  lost.send(queryOf('web', 'A'), 15_053, '127.0.0.1');
  await eventually('the thread failed and was replaced', () => starts === 2);
  lost.close();
  assert.match(network.warnings.join(), /the DNS thread failed and is restarted .*takeSeries/);
  await network.proxy.ready();
  assert.deepEqual(addressesOf(await network.query('web')), ['10.96.0.1']);
  assert.deepEqual(addressesOf(await network.queryTcp('web')), ['10.96.0.1']);
  for (const { port2 } of ports) port2.close();
});

test('sockets that cannot be served are closed', async () => {
  const budget = new Budget(10);
  const file = openSync('/dev/null', 'r');
  const regular = openSync(import.meta.filename, 'r');
  const create = () =>
    new ServedPod({
      ...{ namespace: 'ns1', table: new NameTable(), budget, mark: undefined, port: 53, ownSearch: false },
      sockets: { udp: [regular], tcp: [file], namespace: undefined },
      settings: { clusterDomain: 'cluster.local', preferredNamespace: undefined, ipv6: true },
      generation: () => 0,
      ownConf: () => ({ servers: [], search: [] }),
      onRejected: () => undefined,
      observer: { asked: () => {}, forwarded: () => {}, logs: false, line: () => {} },
    });
  assert.throws(create, /watch|poll|epoll/);
  assert.throws(() => fstatSync(file), /EBADF/);
});
