import assert from 'node:assert/strict';
import { rmSync, writeFileSync } from 'node:fs';
import { test } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { dnsScene, named } from './scene.ts';

test('OBS-20: queries are counted for the pod that asks, forwarded ones also with their time, and each is logged', async () => {
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

test('XDS_ON_DEMAND works with DNS: a name is asked of the control plane when a pod asks for it', async () => {
  await using scene = await dnsScene({ XDS_ON_DEMAND: 'true' });
  scene.mesh.istiod.update([
    { kind: 'service', service: named('ns2/late.ns2.svc.cluster.local', ['10.96.0.9']) },
  ]);
  const answer = await scene.dig('late.ns2.svc.cluster.local. A');
  assert.deepEqual(answer.answers, ['late.ns2.svc.cluster.local. A 10.96.0.9'], answer.text);
});

test('a pod asks its own resolvers where its resolv.conf is in sight, and over IPv6 too', async () => {
  await using scene = await dnsScene();
  const second = await scene.secondResolver();
  // A container: a process in the pod with a file system of its own.
  const conf = `/tmp/kmesh-dns-own-${process.pid}`;
  writeFileSync(conf, `nameserver ${second}\n`);
  const script = 'mount --make-rprivate / && mount --bind "$0" /etc/resolv.conf && exec sleep 600';
  const { pod } = await scene.mesh.pod({ name: 'own', namespace: 'ns1', captured: false });
  const container = pod.spawn('unshare', ['-m', 'sh', '-c', script, conf]);
  try {
    assert.equal(await scene.mesh.node().agent.addPod(pod, {}), '');
    await scene.mesh.apply(named('ns1/www.google.com', ['1.1.1.1', '2001:db8::1']));
    await until(async () => (await scene.dig('only-second.example. A', { from: pod })).answers.length === 1);
    const { client } = scene;
    const v6 = await scene.dig('www.google.com. AAAA', { at: '2001:db8:ffff::53', from: client });
    assert.deepEqual(v6.answers, ['www.google.com. AAAA 2001:db8::1'], v6.text);
  } finally {
    container.kill();
    rmSync(conf);
  }
});

async function until(holds: () => Promise<boolean>): Promise<void> {
  while (!(await holds())) await delay(20);
}
