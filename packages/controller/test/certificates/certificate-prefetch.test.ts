import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Identity, Workload } from '@kmesh/api';
import { memoryLogger } from '@kmesh/api/testing';
import { MeshState } from '@kmesh/orchestration';
import { CertificatePrefetch } from '../../src/certificates/certificate-prefetch.ts';
import { WorkloadCertificate } from '../../src/certificates/workload-certificate.ts';
import { localMeshUpdates, parseLocalMesh } from '../../src/local/local-mesh.ts';
import { material, settle } from './fixtures.ts';

type Pod = Pick<Workload, 'node' | 'protocol' | 'nativeTunnel' | 'serviceAccount'>;

function pod(serviceAccount: string, changes: Partial<Pod> = {}): Workload {
  return {
    trustDomain: 'cluster.local',
    namespace: 'default',
    serviceAccount,
    node: 'here',
    protocol: 'HBONE',
    nativeTunnel: false,
    ...changes,
  } as Workload;
}

function setup(queueLimit?: number) {
  const events: string[] = [];
  const releases: (() => void)[] = [];
  const mesh = new Map<string, Workload>();
  const logger = memoryLogger();
  const prefetch = new CertificatePrefetch({
    node: 'here',
    logger,
    ...(queueLimit === undefined ? {} : { queueLimit }),
    manager: {
      forget: (identity: Identity) => events.push(`forget ${identity.serviceAccount}`),
      certificate: (identity: Identity, priority) => {
        events.push(`${priority} ${identity.serviceAccount}`);
        return new Promise((resolve) =>
          releases.push(() =>
            resolve(
              new WorkloadCertificate({
                identity,
                chain: [],
                roots: [],
                privateKey: material.privateKey,
                version: 1,
              }),
            ),
          ),
        );
      },
    },
  });
  const change = (updates: Record<string, Workload | undefined>): void => {
    for (const [uid, workload] of Object.entries(updates)) {
      if (workload === undefined) mesh.delete(uid);
      else mesh.set(uid, workload);
    }
    prefetch.apply({ workloads: new Set(Object.keys(updates)) }, { workload: (uid) => mesh.get(uid) });
  };
  const release = async (): Promise<void> => {
    releases.shift()?.();
    await settle();
  };
  return { events, logger, prefetch, change, release };
}

test('only HBONE and native-tunnel workloads of this node are fetched, once per identity', async () => {
  const { events, change, release } = setup();
  change({ remote: pod('remote', { node: 'there' }), plain: pod('plain', { protocol: 'TCP' }) });
  assert.deepEqual(events, []);
  change({ a: pod('web') });
  change({ b: pod('web') });
  change({ native: pod('native', { protocol: 'TCP', nativeTunnel: true }) });
  await release();
  await release();
  await release();
  assert.deepEqual(events.filter((event) => event === 'Warmup native').length, 1);
  assert.ok(!events.some((event) => /remote|plain/.test(event)));
});

test('workloads that are known before the start, as of a local mesh file, are fetched like later ones', async () => {
  const { events, prefetch, release } = setup();
  const mesh = new MeshState({ node: 'here' });
  const file = (name: string) =>
    parseLocalMesh(
      `workloads: [{ workloadIps: [], namespace: default, services: {}, name: ${name}, serviceAccount: ${name}, protocol: HBONE, node: here }]`,
      'mesh.yaml',
    );
  const [first, second] = [file('first'), file('second')];
  mesh.apply(localMeshUpdates(undefined, first));
  const unsubscribe = prefetch.follow(mesh);
  await release();
  assert.deepEqual(events, ['Warmup first']);
  mesh.apply(localMeshUpdates(first, second));
  await release();
  assert.deepEqual(events, ['Warmup first', 'Warmup second', 'forget first']);
  unsubscribe();
});

test('identities are fetched one after another, and removed with their last workload', async () => {
  const { events, change, release } = setup();
  change({ a: pod('one'), b: pod('two'), c: pod('one') });
  await settle();
  assert.deepEqual(events, ['Warmup one'], 'the second waits for the first');
  await release();
  assert.deepEqual(events, ['Warmup one', 'Warmup two']);
  change({ a: undefined });
  assert.equal(events.length, 2, 'another workload still has the identity');
  change({ c: pod('one', { node: 'there' }) });
  assert.deepEqual(events.slice(2), ['forget one'], 'moving away counts as leaving');
  change({ b: undefined, d: pod('two') });
  assert.ok(!events.includes('forget two'), 'replaced within one batch');
});

test('a full queue is only logged', async () => {
  const { events, logger, change, release } = setup(2);
  change(Object.fromEntries(['a', 'b', 'c', 'd', 'e'].map((name) => [name, pod(name)])));
  assert.equal(logger.lines.filter((line) => line.includes('queue is full')).length, 2);
  for (let turn = 0; turn < 5; turn += 1) await release();
  assert.deepEqual(events, ['Warmup a', 'Warmup b', 'Warmup c']);
});
