import assert from 'node:assert/strict';
import { rmSync, writeFileSync } from 'node:fs';
import { describe, test } from 'node:test';
import { workloadOf } from '@kmesh/lab';
import { dnsScene, named, until } from './scene.ts';

// Each test has its own mesh, and most wait for timeouts, so they run in parallel.
describe('DNS of a real daemon', { concurrency: 3 }, () => {
  test('OBS-20: queries are counted for the client pod, forwarded ones also with their duration, and each is logged', async () => {
    await using scene = await dnsScene({ RUST_LOG: 'info,dns=debug' });
    const { mesh } = scene;
    await mesh.apply(named('ns1/www.google.com', ['1.1.1.1']));
    await until(async () => (await scene.dig('www.google.com. A')).status === 'NOERROR');
    await until(async () => (await scene.dig('www.bing.com. A')).status === 'NOERROR');
    await scene.dig('+tcp www.bing.com. TXT');
    const { proxy } = mesh.node();
    const sum = async (family: string, labels: Record<string, string>): Promise<number> =>
      (await proxy.metrics())
        .filter(
          ({ name, labels: own }) =>
            name === family && Object.entries(labels).every(([key, value]) => own[key] === value),
        )
        .reduce((total, { value }) => total + value, 0);
    const source = { source_canonical_service: 'client', source_canonical_revision: 'latest' };
    await until(
      async () =>
        (await sum('istio_dns_requests_total', {
          ...source,
          request_query_type: 'txt',
          request_protocol: 'tcp',
        })) === 1,
    );
    const requests = await sum('istio_dns_requests_total', {
      ...source,
      request_query_type: 'a',
      request_protocol: 'udp',
    });
    const upstream = await sum('istio_dns_upstream_requests_total', { ...source, request_query_type: 'a' });
    assert.ok(requests > upstream && upstream > 0, `${requests} requests, ${upstream} forwarded`);
    assert.equal(
      await sum('istio_dns_upstream_request_duration_seconds_count', { ...source, request_query_type: 'a' }),
      upstream,
    );
    await until(async () => proxy.log.includes('forwarded, NOERROR by'));
    assert.match(
      proxy.log,
      /src\.workload="?client"? .*src\.namespace="?ns1"?.*query="?A"?.*domain="?www\.google\.com\.".*endpoints="?1\.1\.1\.1/,
    );
  });

  test('with XDS_ON_DEMAND a name is requested from the control plane when a pod queries it', async () => {
    await using scene = await dnsScene({ XDS_ON_DEMAND: 'true' });
    scene.mesh.istiod.update([
      { kind: 'service', service: named('ns2/late.ns2.svc.cluster.local', ['10.96.0.9']) },
    ]);
    const answer = await scene.dig('late.ns2.svc.cluster.local. A');
    assert.deepEqual(answer.answers, ['late.ns2.svc.cluster.local. A 10.96.0.9'], answer.text);
  });

  test("queries are forwarded to the pod's own resolvers if its resolv.conf is visible, over IPv6 too", async () => {
    await using scene = await dnsScene();
    const second = await scene.secondResolver();
    // A container: a process in the pod with its own file system.
    const conf = `/tmp/kmesh-dns-own-${process.pid}`;
    writeFileSync(conf, `nameserver ${second}\n`);
    const script = 'mount --make-rprivate / && mount --bind "$0" /etc/resolv.conf && exec sleep 600';
    const { pod } = await scene.mesh.pod({ name: 'own', namespace: 'ns1', captured: false });
    const container = pod.spawn('unshare', ['-m', 'sh', '-c', script, conf]);
    try {
      assert.equal(await scene.mesh.node().agent.addPod(pod, {}), '');
      await scene.mesh.apply(named('ns1/www.google.com', ['1.1.1.1', '2001:db8::1']));
      await until(
        async () => (await scene.dig('only-second.example. A', { from: pod })).answers.length === 1,
      );
      const { client } = scene;
      const v6 = await scene.dig('www.google.com. AAAA', { at: '2001:db8:ffff::53', from: client });
      assert.deepEqual(v6.answers, ['www.google.com. AAAA 2001:db8::1'], v6.text);
    } finally {
      container.kill();
      rmSync(conf);
    }
  });

  test('DNS-25: with IPV6_ENABLED=false a name with addresses of both families is answered with those of IPv4', async () => {
    await using scene = await dnsScene({ IPV6_ENABLED: 'false' });
    await scene.mesh.apply(named('ns1/dual.example', ['1.1.1.1', '2002::1']));
    await until(async () => (await scene.dig('dual.example. A')).answers.length === 1);
    const answer = await scene.dig('dual.example. AAAA');
    assert.equal(answer.status, 'NOERROR', answer.text);
    assert.ok(answer.flags.includes('aa'), answer.text);
    assert.deepEqual(answer.answers, []);
    assert.match((await scene.lookUp('glibc', 'dual.example.', 6)).join(), /error/);
  });

  test('DNS-26: a client whose address is IPv4-mapped is answered as one with IPv4', async () => {
    await using scene = await dnsScene({ ISTIO_META_DNS_PROXY_ADDR: '[::ffff:127.0.0.1]:15053' });
    await scene.mesh.apply(named('ns1/www.google.com', ['1.1.1.1']));
    for (const transport of ['+notcp', '+tcp'])
      await until(async () => (await scene.dig(`${transport} www.google.com. A`)).answers.length === 1);
    assert.deepEqual(await scene.lookUp('musl', 'www.google.com.'), ['1.1.1.1']);
  });

  for (const address of ['0.0.0.0', '[::]'])
    test(`DNS-26: at the wildcard address ${address} it answers over UDP and TCP from the address of the query`, async () => {
      await using scene = await dnsScene({ ISTIO_META_DNS_PROXY_ADDR: `${address}:15053` });
      await scene.mesh.apply(named('ns1/www.google.com', ['1.1.1.1']));
      for (const transport of ['+notcp', '+tcp'])
        await until(async () => (await scene.dig(`${transport} www.google.com. A`)).answers.length === 1);
      assert.deepEqual(await scene.lookUp('glibc', 'www.google.com.'), ['1.1.1.1']);
    });

  test('DNS-27: a query to an unresponsive resolver gets SERVFAIL, and no other query of this or another pod is delayed', async () => {
    await using scene = await dnsScene();
    const { mesh, client } = scene;
    const { pod: other } = await mesh.pod({ name: 'other', namespace: 'ns1' });
    await mesh.apply(named('ns1/www.google.com', ['1.1.1.1']));
    for (const from of [client, other])
      await until(async () => (await scene.dig('www.google.com. A', { from })).answers.length === 1);
    scene.useResolvers(await scene.silentResolver());
    await until(async () => {
      const asked = performance.now();
      const { status } = await scene.dig('www.bing.com. A');
      return status === 'SERVFAIL' && performance.now() - asked > 4_500;
    });
    const began = performance.now();
    const silent = scene.dig('www.bing.com. A');
    let answered = 0;
    let over = false;
    void silent.then(() => (over = true));
    while (!over) {
      for (const from of [client, other]) {
        const local = performance.now();
        const { answers } = await scene.dig('www.google.com. A', { from });
        assert.deepEqual(answers, ['www.google.com. A 1.1.1.1']);
        assert.ok(performance.now() - local < 2_000);
        answered++;
      }
    }
    assert.equal((await silent).status, 'SERVFAIL');
    const seconds = (performance.now() - began) / 1_000;
    assert.ok(seconds > 4.5 && seconds < 6.5, `${seconds} s`);
    assert.ok(answered >= 8, `${answered}`);
    const { proxy } = mesh.node();
    await proxy.until('the failure is counted and logged', async () => {
      const failed = (await proxy.metrics()).filter(
        ({ name }) => name === 'istio_dns_upstream_failures_total',
      );
      return (
        failed.some(({ value }) => value >= 2) && proxy.log.includes('a resolver does not answer in time')
      );
    });
  });

  test('DNS-29: a pod whose own workload is not known gets SERVFAIL after five seconds, and answers once it is', async () => {
    await using scene = await dnsScene();
    const { mesh } = scene;
    const { node, agent } = mesh.node();
    await mesh.apply(named('ns1/www.google.com', ['1.1.1.1']));
    const stranger = await node.pod({ name: 'stranger', namespace: 'ns1' });
    assert.equal(await agent.addPod(stranger), '');
    const began = performance.now();
    const refused = await scene.dig('www.google.com. A', { from: stranger });
    assert.equal(refused.status, 'SERVFAIL', refused.text);
    assert.ok(performance.now() - began > 4_500);
    const waiting = scene.dig('www.google.com. A', { from: stranger });
    await mesh.apply(workloadOf(stranger));
    assert.deepEqual((await waiting).answers, ['www.google.com. A 1.1.1.1']);
  });
});
