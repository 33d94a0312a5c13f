import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { serviceOf } from '@kmesh/lab';
import { startDaemonMesh } from '@kmesh/lab/testing/daemon/daemon-mesh.ts';

const resolver = new URL('../../build/lab/resolve-glibc', import.meta.url).pathname;

test('DNS-33: a proxy is replaced by the next one, and no lookup of a pod fails', async () => {
  await using mesh = await startDaemonMesh();
  const directory = mkdtempSync(join(tmpdir(), 'kmesh-dns-restart-'));
  try {
    const place = await mesh.node();
    mesh.istiod.update([
      {
        kind: 'service',
        service: serviceOf({ name: 'shop', vips: ['10.96.0.1'], ports: { 80: 8080 } }),
      },
    ]);
    const client = await mesh.pod(place.node);
    const conf = join(directory, 'resolv.conf');
    // One attempt: a lost lookup is a failure.
    writeFileSync(conf, 'nameserver 198.51.100.1\noptions attempts:1 timeout:3\n');
    const environment = { ISTIO_META_DNS_CAPTURE: 'true', CONNECTION_TERMINATION_DEADLINE: '3s' };
    let current = await mesh.daemon(place, { environment });
    await current.ready();
    assert.equal(await place.agent.addPod(client), '');
    const script = 'mount --make-rprivate / && mount --bind "$0" /etc/resolv.conf && exec "$@"';
    const lookUp = async (): Promise<string> => {
      const words = ['-m', 'sh', '-c', script, conf, resolver, 'shop.default.svc.cluster.local.', '4'];
      return (await client.run('unshare', words, { check: false })).stdout.trim();
    };
    await current.until('the name is known', async () => (await lookUp()) === '10.96.0.1');

    const answers = new Map<string, number>();
    let over = false;
    const asking = Array.from({ length: 2 }, async () => {
      while (!over) {
        const answer = await lookUp();
        answers.set(answer, (answers.get(answer) ?? 0) + 1);
      }
    });
    for (let restart = 0; restart < 2; restart++) {
      const next = await mesh.daemon(place, { environment });
      await next.ready();
      current.kill('SIGTERM');
      assert.deepEqual(await current.ended, { code: 0, signal: null });
      current = next;
    }
    over = true;
    await Promise.all(asking);
    assert.deepEqual([...answers.keys()], ['10.96.0.1']);
    assert.ok((answers.get('10.96.0.1') ?? 0) > 50, JSON.stringify([...answers]));
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
});
