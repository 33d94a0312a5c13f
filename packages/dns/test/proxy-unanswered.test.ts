import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { eventually } from '@kmesh/api/testing';
import dnsPacket from 'dns-packet';
import { pod, service } from './support/mesh.ts';
import { addressesOf, answerOf, codeOf, PodNetwork, queryOf } from './support/pod-network.ts';

const resolver = '198.51.100.1';
const second = '198.51.100.2';

// Each test waits several seconds for a timeout, in its own network namespace, so they run in parallel.
describe('unresponsive resolvers and clients', { concurrency: true }, () => {
  test('DNS-29: a pod whose workload is unknown gets SERVFAIL after five seconds, or its answer once the workload arrives', async () => {
    await using network = await PodNetwork.start({
      unknown: true,
      mesh: [service('ns1/web.ns1.svc.cluster.local', ['nw1/10.96.0.1'])],
    });
    const began = performance.now();
    assert.equal(codeOf(await network.query('web')), 'SERVFAIL');
    assert.ok(performance.now() - began > 4_500);
    const waiting = network.query('web');
    network.state.apply([pod('ns1/client', ['10.0.0.1'])]);
    assert.deepEqual(addressesOf(await waiting), ['10.96.0.1']);
  });

  test('DNS-27: queries to an unresponsive resolver get SERVFAIL after five seconds, and other queries are not delayed', async () => {
    await using network = await PodNetwork.start({
      resolvers: [resolver],
      mesh: [service('ns1/web.ns1.svc.cluster.local', ['nw1/10.96.0.1'])],
    });
    let asked = 0;
    network.resolver(resolver, () => asked++);
    const began = performance.now();
    const silent = Array.from({ length: 20 }, () => network.query('silent.example'));
    const local = performance.now();
    assert.deepEqual(addressesOf(await network.query('web')), ['10.96.0.1']);
    assert.ok(performance.now() - local < 1_000);
    for (const answer of await Promise.all(silent)) assert.equal(codeOf(answer), 'SERVFAIL');
    const seconds = (performance.now() - began) / 1_000;
    assert.ok(seconds > 4.5 && seconds < 7, `${seconds} s`);
    // One query is sent for all of them, three times.
    assert.equal(asked, 3);
    await eventually('the warning about the resolver', () =>
      network.warnings.some((line) => line.includes('not answer in time') && line.includes(resolver)),
    );
  });

  test('the second resolver is used when the first does not respond, is unreachable or refuses', async () => {
    for (const first of ['silent', 'unreachable', 'refuses'] as const) {
      await using network = await PodNetwork.start({ resolvers: [resolver, second] });
      if (first === 'silent') network.resolver(resolver, () => undefined);
      if (first === 'refuses')
        network.resolver(resolver, (query, reply) => reply(answerOf(query, '', { answers: [], flags: 5 })));
      network.resolver(second, (query, reply) => reply(answerOf(query, '203.0.113.8')));
      const began = performance.now();
      assert.deepEqual(addressesOf(await network.query('www.bing.com')), ['203.0.113.8'], first);
      assert.ok(performance.now() - began < 3_000, first);
    }
  });

  test('with an unreachable resolver, or none, the answer is SERVFAIL at once', async () => {
    for (const resolvers of [[resolver], []]) {
      await using network = await PodNetwork.start({ resolvers });
      const began = performance.now();
      assert.equal(codeOf(await network.query('www.bing.com')), 'SERVFAIL');
      assert.ok(performance.now() - began < 3_000);
    }
  });

  test('a resolver that sends only invalid answers is abandoned after 16 messages', async () => {
    await using network = await PodNetwork.start({ resolvers: [resolver] });
    network.resolver(resolver, (query, reply) => {
      for (let lie = 0; lie < 40; lie++) reply(answerOf(query, '6.6.6.6', { id: lie }));
    });
    assert.equal(codeOf(await network.query('www.bing.com')), 'SERVFAIL');
  });

  test('a pod with 256 pending queries gets SERVFAIL for further ones, and other pods are not affected', async () => {
    await using network = await PodNetwork.start({ resolvers: [resolver] });
    network.resolver(resolver, (query, reply) => {
      if (dnsPacket.decode(query).questions?.[0]?.name.toLowerCase().startsWith('live'))
        reply(answerOf(query, '203.0.113.7'));
    });
    const client = network.client();
    const codes: string[] = [];
    client.on('message', (message: Buffer) => codes.push(codeOf(dnsPacket.decode(message))));
    const began = performance.now();
    for (let index = 0; codes.length < 20; index++) {
      client.send(queryOf(`dead-${index}.example`, 'A'), 15_053, '127.0.0.1');
      // Slowly enough for a busy machine: datagrams beyond the proxy's receive buffer are lost, those of later queries too.
      if (index % 16 === 0) await delay(5);
    }
    client.close();
    assert.ok(performance.now() - began < 4_000);
    assert.deepEqual(new Set(codes), new Set(['SERVFAIL']));
    assert.equal(codeOf(await network.query('live.example')), 'SERVFAIL');
    await eventually('the warning about the limit', () =>
      network.warnings.some((line) => line.includes('exceeds its limit of pending queries')),
    );
    await using other = await PodNetwork.start({ resolvers: [second] });
    other.resolver(second, (query, reply) => reply(answerOf(query, '203.0.113.7')));
    assert.deepEqual(addressesOf(await other.query('live.example')), ['203.0.113.7']);
  });

  test('a query that loops back to the proxy is not forwarded again', async () => {
    await using network = await PodNetwork.start({ resolvers: [resolver] });
    let forwarded = 0;
    network.resolver(resolver, (query, reply) => {
      forwarded++;
      if (forwarded > 20) return;
      // A forwarder that forwards to this proxy.
      void network.send(query).then(reply, () => undefined);
    });
    assert.equal(codeOf(await network.query('loop.example')), 'SERVFAIL');
    assert.ok(forwarded <= 3, `${forwarded} queries`);
  });

  test('unknown names are requested from the control plane, once, before they are forwarded', async () => {
    const demanded: string[] = [];
    const state: { apply?: () => void } = {};
    await using network = await PodNetwork.start({
      proxy: {
        demand: async (name) => {
          demanded.push(name);
          if (name === 'ns2/late.ns2.svc.cluster.local') state.apply?.();
        },
      },
    });
    state.apply = () => {
      network.state.apply([service('ns2/late.ns2.svc.cluster.local', ['nw1/10.96.0.9'])]);
    };
    assert.deepEqual(addressesOf(await network.query('late.ns2')), ['10.96.0.9']);
    assert.ok(demanded.includes('ns1/late.ns2'), demanded.join());
    assert.equal(codeOf(await network.query('absent.example')), 'SERVFAIL');
    const count = demanded.length;
    assert.equal(codeOf(await network.query('absent.example')), 'SERVFAIL');
    assert.equal(demanded.length, count);
  });

  test('a pod with 64 queries that wait for the control plane gets SERVFAIL for further ones', async () => {
    const demanded = new Set<string>();
    const { promise: never } = Promise.withResolvers<void>();
    await using network = await PodNetwork.start({
      mesh: [service('ns1/web.ns1.svc.cluster.local', ['nw1/10.96.0.1'])],
      proxy: {
        demand: (name) => {
          demanded.add(name);
          return never;
        },
      },
    });
    const codes: string[] = [];
    const client = network.client();
    client.on('message', (message: Buffer) => codes.push(codeOf(dnsPacket.decode(message))));
    for (let index = 0; codes.length < 20; index++) {
      client.send(queryOf(`unknown-${index}.ns2`, 'A'), 15_053, '127.0.0.1');
      if (index % 16 === 0) await delay(5);
    }
    client.close();
    assert.deepEqual(new Set(codes), new Set(['SERVFAIL']));
    const services = [...demanded].filter((name) => name.startsWith('ns2/'));
    assert.equal(services.length, 64);
    assert.deepEqual(addressesOf(await network.query('web')), ['10.96.0.1']);
  });
});
